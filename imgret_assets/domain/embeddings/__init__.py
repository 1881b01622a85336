"""The stored vectors: computing, storing, checking and reading them."""
