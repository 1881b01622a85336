"""Decisions that people made about duplicates, and what follows from them."""
