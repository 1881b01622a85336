"""Find images similar to a query image: candidates from the graph or the tables, exact scores, relations."""
