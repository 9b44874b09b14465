"""Sampling, refinement and likelihood of a trained model: pure functions."""
