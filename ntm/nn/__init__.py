"""Building blocks of the networks: attention, embeddings, stacks, patches."""
