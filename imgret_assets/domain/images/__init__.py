"""Image files: listing, reading, decoding, the manifest, labels, thumbnails."""
