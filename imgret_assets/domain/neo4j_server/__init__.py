"""The embedded Neo4j server of a home: its jars, configuration, login and process."""
