"""FLOPs of a model, peaks of accelerators, traffic of compiled programs."""
