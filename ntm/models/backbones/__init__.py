"""Published networks that an NTM can start from."""
