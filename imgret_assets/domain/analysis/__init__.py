"""What scores mean in a collection, and groups of images: thresholds, clustering, ranking quality, plots."""
