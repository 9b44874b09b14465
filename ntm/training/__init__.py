"""Objectives, optimiser, state, sharding, checkpoints, metrics and the loop."""
