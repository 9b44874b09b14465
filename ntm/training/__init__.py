"""Training loop, update step, state, checkpoints, metrics and coordination of processes."""
