"""From a key to images: samplers, guidance, refinement."""
