"""Inception v3, whose features the Fréchet Inception Distance compares."""
