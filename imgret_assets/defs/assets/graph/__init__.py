"""Third layer: nodes and relationships in Neo4j."""
