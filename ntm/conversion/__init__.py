"""PyTorch checkpoints to ours and back: an engine and one table per family."""
