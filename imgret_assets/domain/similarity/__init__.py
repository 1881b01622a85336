"""Exact scores of image pairs: pairs above a threshold and nearest neighbours, and their tables."""
