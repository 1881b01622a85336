"""Neo4j kept equal to the tables: connection, nodes, relationships, consistency."""
