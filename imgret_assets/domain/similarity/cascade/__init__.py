"""Exact search for pairs of vectors by a cascade of proved upper bounds."""
