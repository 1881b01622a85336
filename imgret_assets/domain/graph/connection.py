"""A connection to Neo4j, the given server or the embedded one, and its failures by name.

Belongs here: opening, sending, translating the driver's errors. Not here: statements (`domain.graph.cypher`), the
embedded server's life (`domain.neo4j_server.lifecycle`).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from imgret_assets.domain.graph import cypher
from imgret_assets.errors import DatabaseError
from imgret_assets.settings import Settings

if TYPE_CHECKING:
    from neo4j import Driver, Record, SummaryCounters

CONNECT_WITHIN_S = 15.0
# The first server release whose Cypher 25 takes the driver's packed vectors.
_PACKED_VECTORS_SINCE = (2025, 10)


class Database:
    """One database of one server, open."""

    def __init__(self, driver: "Driver", name: str | None, uri: str) -> None:
        self.driver = driver
        self.name = name
        self.uri = uri
        self._version: tuple[str, str] | None = None
        self._gds: bool | None = None

    def rows(self, statement: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Run a statement that reads; its rows as dictionaries."""
        with translated(self.uri):
            result = self.driver.execute_query(
                statement,  # type: ignore[arg-type]
                dict(parameters or {}),
                database_=self.name,
                routing_="r",
            )
        return [_as_dictionary(record) for record in result.records]

    def stream(self, statement: str, parameters: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        """Run a statement that reads; its rows one by one, as the server sends them."""
        with translated(self.uri), self.driver.session(database=self.name, default_access_mode="READ") as session:
            for record in session.run(statement, dict(parameters or {})):  # type: ignore[arg-type]
                yield _as_dictionary(record)

    def write(
        self, *statements: tuple[str, Mapping[str, Any]], again: Sequence[tuple[str, Mapping[str, Any]]] | None = None
    ) -> "list[tuple[SummaryCounters, list[dict[str, Any]]]]":
        """Run statements in one transaction; what the server counted and returned for each.

        The transaction is sent again where the server says that may help, and where its answer was lost, which leaves
        open whether it was done: statements must bear being done twice.

        Args:
            statements: with their parameters.
            again: what is sent instead from the second time on, where `statements` don't bear it.
        """
        attempts = 0

        def work(transaction: Any) -> list[tuple[Any, list[dict[str, Any]]]]:
            nonlocal attempts
            attempts += 1
            done = []
            for statement, parameters in statements if again is None or attempts == 1 else again:
                result = transaction.run(statement, dict(parameters))
                rows = [_as_dictionary(record) for record in result]
                done.append((result.consume().counters, rows))
            return done

        with translated(self.uri), self.driver.session(database=self.name) as session:
            return session.execute_write(work)

    def schema(self, statement: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run a statement about indexes or constraints, which wants a transaction of its own."""
        self.write((statement, parameters or {}))

    @property
    def version(self) -> str:
        """The server's version, such as `2026.01.4`."""
        return self._component()[0]

    @property
    def has_gds(self) -> bool:
        """True where the Graph Data Science library is installed."""
        if self._gds is None:
            self._gds = bool(self.rows(cypher.HAS_GDS)[0]["found"])
        return self._gds

    @property
    def takes_packed_vectors(self) -> bool:
        """True where vectors can be sent as one value, which is over twice as fast as lists."""
        numbers = [int(part) for part in self.version.split(".")[:2] if part.isdigit()]
        return tuple(numbers) >= _PACKED_VECTORS_SINCE

    def _component(self) -> tuple[str, str]:
        if self._version is None:
            kernel = next(row for row in self.rows(cypher.COMPONENTS) if row["name"] == "Neo4j Kernel")
            self._version = (kernel["version"], kernel["edition"])
        return self._version


def _as_dictionary(record: "Record") -> dict[str, Any]:
    # Not record.data(), which looks at every number of every vector for nodes to unfold: no statement returns nodes.
    return dict(record.items())


@contextmanager
def open_database(settings: Settings, *, progress: Any = None) -> Iterator[Database]:
    """Lend a connection to the settings' Neo4j, starting the embedded server where none is given.

    Raises:
        DatabaseError: the server can't be reached or refuses the login.
        ServerError: the embedded server can't be started.
    """
    from neo4j import GraphDatabase

    from imgret_assets.domain.neo4j_server.lifecycle import connection

    found = connection(settings, progress=progress)
    with translated(found.uri):
        driver = GraphDatabase.driver(
            found.uri,
            auth=(found.username, found.password),
            connection_timeout=CONNECT_WITHIN_S,
            notifications_min_severity="OFF",
        )
        try:
            # First, because a query to a server that is not there is sent again for half a minute.
            driver.verify_connectivity()
            if settings.neo4j.database:
                driver.execute_query("RETURN 1", database_=settings.neo4j.database)
            yield Database(driver, settings.neo4j.database, found.uri)
        finally:
            driver.close()


@contextmanager
def translated(uri: str) -> Iterator[None]:
    """Turn the driver's errors into named ones that say what to do."""
    from neo4j import exceptions

    try:
        yield
    except exceptions.AuthError as error:
        raise DatabaseError(
            f"Neo4j at {uri} refuses the login ({error.code})",
            remedy="set NEO4J_USERNAME and NEO4J_PASSWORD to a login of that server",
        ) from error
    except exceptions.ConfigurationError as error:
        raise DatabaseError(
            f"NEO4J_URI {uri!r} is not usable ({error})", expected="such as bolt://host:7687"
        ) from error
    except (exceptions.ServiceUnavailable, exceptions.SessionExpired) as error:
        said = (str(error).splitlines() or ["no answer"])[0]
        raise DatabaseError(
            f"Neo4j at {uri} can't be reached or went away ({said})",
            remedy="start it, or check NEO4J_URI; without NEO4J_URI imgret runs its own server",
        ) from error
    except exceptions.Neo4jError as error:
        found = f"Neo4j at {uri} could not do it: {error.message} ({error.code})"
        raise DatabaseError(found, remedy=_remedy(error.code or "")) from error


def _remedy(code: str) -> str:
    if "DatabaseNotFound" in code:
        return "set NEO4J_DATABASE to a database of that server, or remove it"
    if "OutOfMemory" in code or "MemoryPool" in code:
        return "give the server more memory (IMGRET_NEO4J_HEAP for the embedded one), then run again"
    return ""
