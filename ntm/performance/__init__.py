"""FLOPs of programs, peaks of accelerators, and traffic between them."""
