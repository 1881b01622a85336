"""Arithmetic on rows of vectors, and its compiler."""
