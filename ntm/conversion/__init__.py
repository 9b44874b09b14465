"""Converts PyTorch checkpoints into ours and back, by the mapping of their family."""
