"""Published models, one folder each: the module, and the mapping of its checkpoint file."""
