"""Answers to "which images look like this one?": candidates from the graph or the tables, exact scores, relations."""
