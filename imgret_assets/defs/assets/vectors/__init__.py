"""Layer two: what the pictures look like, as numbers, and which look alike."""
