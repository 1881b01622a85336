"""The chart of an image's relationships."""
