"""Objects of a store: listing, reading, keeping."""
