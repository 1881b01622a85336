"""What images, vectors, pairs and the graph are, in plain Python: no Dagster here."""
