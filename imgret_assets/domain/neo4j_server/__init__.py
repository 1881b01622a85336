"""The embedded Neo4j server: its files, login, start and stop."""
