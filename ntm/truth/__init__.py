"""Data whose density is known exactly at every noise level, and what is exact about them."""
