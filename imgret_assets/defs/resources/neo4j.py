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
from imgret_assets.errors import UnreachableDatabaseError
from imgret_assets.settings import load_settings

# Enough for a restart of the server. Each attempt begins with what is still to be written.
RETRIES = 4
RETRY_PAUSE_S = 30.0


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

    retries: int = Field(
        default=RETRIES,
        description="How often a step that writes the graph is tried again where the server can't be reached.",
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

    @contextmanager
    def open_to_write(self, home: Home) -> Iterator[Database]:
        """Provide a connection to a step that can be repeated: if the server is away, Dagster tries the step again.

        Raises:
            dagster.RetryRequested: the server can't be reached, or the connection was lost.
            DatabaseError: the same where no retries are left to Dagster, or the server refuses the login.
            ServerError: the embedded server cannot be started.
        """
        try:
            with self.open(home) as database:
                yield database
        except UnreachableDatabaseError as error:
            if not self.retries:
                raise
            raise dg.RetryRequested(self.retries, RETRY_PAUSE_S) from error
