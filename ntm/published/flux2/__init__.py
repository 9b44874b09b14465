"""The Transformer of FLUX.2 [klein]."""
