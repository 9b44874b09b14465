"""How good samples are: distances between feature distributions."""
