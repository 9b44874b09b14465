"""Invertible maps with one contract: see `ntm.flows.bijector`."""
