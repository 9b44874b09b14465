"""The transporter, the predictor, and the density they make together."""
