"""The claims of the paper at the scale of two CPU cores: what is trained, measured and compared."""
