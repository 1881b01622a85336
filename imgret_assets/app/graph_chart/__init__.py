"""The chart of a graph: which nodes and edges it shows, where they are, how they are drawn."""
