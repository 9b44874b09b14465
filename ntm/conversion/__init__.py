"""PyTorch checkpoints to ours and back, by the mapping of their family; knows no model."""
