"""What a run trains: the losses, and the task that the training loop sees of each."""
