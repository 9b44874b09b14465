"""Images from disk to batches: sources with random access, and Grain."""
