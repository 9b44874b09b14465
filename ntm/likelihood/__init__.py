"""What images are worth to a model: bounds on their likelihood, and what can be read off it."""
