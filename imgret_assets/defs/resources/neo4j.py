"""The resource that lends a connection to Neo4j: any server by its URI, else the embedded one.

Belongs here: configuration. Not here: statements (`domain.graph.cypher`), the embedded server
(`domain.neo4j_server.lifecycle`).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
from pydantic import Field

from imgret_assets.defs.environment import started_environment
from imgret_assets.domain.graph.connection import Database, open_database
from imgret_assets.domain.storage.home import Home
from imgret_assets.settings import load_settings


class Neo4jResource(dg.ConfigurableResource):
    """A Neo4j server; without a URI the embedded one of the home, started when first needed."""

    uri: str | None = Field(
        default=None, description="Such as bolt://host:7687; NEO4J_URI or the embedded server where empty."
    )
    username: str | None = Field(default=None, description="NEO4J_USERNAME or neo4j where empty.")
    password: str | None = Field(
        default=None,
        repr=False,
        description="NEO4J_PASSWORD where empty. Give it as an EnvVar: plain values are shown in the UI.",
    )
    database: str | None = Field(default=None, description="Name of the database; the server's default where empty.")

    @contextmanager
    def open(self, home: Home) -> Iterator[Database]:
        """Lend a connection, closed afterwards.

        Raises:
            DatabaseError: the server can't be reached or refuses the login.
            ServerError: the embedded server can't be started.
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
