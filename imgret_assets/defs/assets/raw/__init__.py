"""First layer: the list of image files."""
