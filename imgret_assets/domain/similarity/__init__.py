"""Similarity between stored vectors: all pairs above a threshold, the nearest neighbours, and ranking with them."""
