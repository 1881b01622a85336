"""The resource that provides a connection to Neo4j: to any server by its URI, else to the embedded server.

Belongs here: configuration. Not here: statements (`domain.graph.cypher`), the embedded server
(`domain.neo4j_server.lifecycle`).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
from pydantic import Field

from imgret_assets.defs.environment import started_environment
from imgret_assets.domain.graph.connection import Database, keep_connections, open_database
from imgret_assets.domain.storage.home import Home
from imgret_assets.settings import load_settings


class Neo4jResource(dg.ConfigurableResource):
    """A Neo4j server; without a URI the home's embedded server, which is started on first use."""

    uri: str | None = Field(
        default=None, description="Address, such as bolt://host:7687. If empty: NEO4J_URI, else the embedded server."
    )
    username: str | None = Field(default=None, description="User name. If empty: NEO4J_USERNAME, else neo4j.")
    password: str | None = Field(
        default=None,
        repr=False,
        description="Password. If empty: NEO4J_PASSWORD. Set it as an EnvVar: the UI shows plain values.",
    )
    database: str | None = Field(
        default=None, description="Name of the database. If empty: NEO4J_DATABASE, else the server's default."
    )

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["Neo4jResource"]:
        """Keep connections for as long as the resource serves a run: all its steps and checks use the same one."""
        with keep_connections(), super().yield_for_execution(context) as resource:
            yield resource

    @contextmanager
    def open(self, home: Home) -> Iterator[Database]:
        """Provide a connection, and close it at the end of the block; within a run, at the run's end.

        Raises:
            DatabaseError: the server cannot be reached or refuses the login.
            ServerError: the embedded server cannot be started.
        """
        flags = {
            "home": home.path,
            "neo4j_uri": self.uri,
            "neo4j_username": self.username,
            "neo4j_password": self.password,
            "neo4j_database": self.database,
        }
        with open_database(load_settings(flags, env=started_environment())) as database:
            yield database
