"""The HTTP API: similar images, facts, groups and duplicates for other programs; read only."""
