"""Layer three: nodes and relationships in Neo4j."""
