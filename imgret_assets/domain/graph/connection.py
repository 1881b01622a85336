"""A connection to Neo4j, the external server or the embedded one, and its failures as named errors.

Belongs here: opening and keeping connections, sending statements in few round trips, translating the driver's errors,
what server it is. Not here: the statements (`domain.graph.cypher`), starting and stopping the embedded server
(`domain.neo4j_server.lifecycle`).
"""

import re
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from imgret_assets.domain.graph import cypher
from imgret_assets.domain.neo4j_server.drivers import open_driver
from imgret_assets.domain.neo4j_server.lifecycle import browser_url, connection
from imgret_assets.domain.neo4j_server.run_file import Connection
from imgret_assets.domain.runtime.shared_blocks import SharedWithinBlocks
from imgret_assets.errors import DatabaseError, UnreachableDatabaseError, first_line
from imgret_assets.settings import Settings

if TYPE_CHECKING:
    from neo4j import Driver, Record, ServerInfo, Session, SummaryCounters

# The first server releases whose Cypher 25 takes the driver's packed vectors, and has the clause SEARCH.
_PACKED_VECTORS_SINCE, _SEARCH_SINCE = (2025, 10), (2026, 1)
# Neo4j Aura's version does not say what its server can: it stays at 5.27 while the server goes on.
_AURA = "aura"
# Rows that the server sends for one request of the driver.
_FETCHED_ROWS = 10_000
# By OpenSSL's number of the fault that it finds in a server's certificate.
_WRONG_NAME = "write NEO4J_URI with a name that the server's certificate has, or give the server one with this name"
_CERTIFICATE_REMEDIES = {
    9: "the certificate is not valid yet: look at the clocks of both machines",
    10: "the server's certificate has expired: give it a new one",
    62: _WRONG_NAME,
    64: _WRONG_NAME,
}
_UNTRUSTED = (
    "name the file of the authority that signed the server's certificate in IMGRET_NEO4J_CA, use a certificate that "
    "this machine trusts, or a scheme ending in +ssc, which accepts any certificate"
)
# An older connection is replaced before its next use: while a run was computing, a firewall may have forgotten it, and
# nothing would answer.
_REPLACED_AFTER_S = 300.0


class Database:
    """An open connection to one database of one server."""

    def __init__(self, driver: "Driver", name: str | None, uri: str, version: str) -> None:
        self.driver = driver
        self.name = name
        self.uri = uri
        self._version = version
        self._gds: bool | None = None
        self._search: bool | None = None

    def rows(self, statement: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Run a reading statement and return its rows as dictionaries.

        It takes one round trip. It is sent again, as a transaction that takes two or more, if that may help.
        """
        from neo4j.exceptions import DriverError, Neo4jError

        with translated(self.uri):
            try:
                with self._session("READ") as session:
                    return [_as_dictionary(record) for record in session.run(statement, dict(parameters or {}))]  # type: ignore[arg-type]
            except (DriverError, Neo4jError) as error:
                if not error.is_retryable():
                    raise
            result = self.driver.execute_query(
                statement,  # type: ignore[arg-type]
                dict(parameters or {}),
                database_=self.name,
                routing_="r",
            )
        return [_as_dictionary(record) for record in result.records]

    def stream(self, statement: str, parameters: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        """Run a reading statement and yield its rows as the server sends them."""
        with translated(self.uri), self._session("READ") as session:
            for record in session.run(statement, dict(parameters or {})):  # type: ignore[arg-type]
                yield _as_dictionary(record)

    def write(
        self, *statements: tuple[str, Mapping[str, Any]], again: Sequence[tuple[str, Mapping[str, Any]]] | None = None
    ) -> "list[tuple[SummaryCounters, list[dict[str, Any]]]]":
        """Run statements in one transaction and return the server's counters and rows for each.

        The transaction is sent again if the server says that this may help, and if its answer was lost, which leaves
        open whether it was done. So the statements must be safe to run twice.

        Args:
            statements: the statements with their parameters.
            again: what is sent from the second time on, if `statements` are not safe to run twice.
        """
        if len(statements) == 1 and again is None:
            return [self._write_one(*statements[0])]
        attempts = 0

        def work(transaction: Any) -> list[tuple[Any, list[dict[str, Any]]]]:
            nonlocal attempts
            attempts += 1
            results = []
            for statement, parameters in statements if again is None or attempts == 1 else again:
                result = transaction.run(statement, dict(parameters))
                rows = [_as_dictionary(record) for record in result]
                results.append((result.consume().counters, rows))
            return results

        with translated(self.uri), self._session("WRITE") as session:
            return session.execute_write(work)

    def _write_one(
        self, statement: str, parameters: Mapping[str, Any]
    ) -> "tuple[SummaryCounters, list[dict[str, Any]]]":
        """Run one statement in a transaction; the driver begins it together with the statement: a round trip less."""
        with translated(self.uri):
            result = self.driver.execute_query(
                statement,  # type: ignore[arg-type]
                dict(parameters),
                database_=self.name,
            )
        return result.summary.counters, [_as_dictionary(record) for record in result.records]

    def _session(self, access_mode: str) -> "Session":
        return self.driver.session(
            database=self.name,
            default_access_mode=access_mode,
            fetch_size=_FETCHED_ROWS,
            # A cluster's reading member must have what was written before.
            bookmark_manager=self.driver.execute_query_bookmark_manager,
        )

    def schema(self, statement: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run a statement about indexes or constraints, which needs a transaction of its own."""
        self.write((statement, parameters or {}))

    @property
    def version(self) -> str:
        """The server's version, such as `2026.01.4`."""
        return self._version

    @property
    def has_gds(self) -> bool:
        """True if the Graph Data Science library is installed."""
        if self._gds is None:
            self._gds = bool(self.rows(cypher.HAS_GDS)[0]["functions"])
        return self._gds

    @property
    def takes_packed_vectors(self) -> bool:
        """True if a vector can be sent as one value, which is over twice as fast as a list."""
        return _release(self.version) >= _PACKED_VECTORS_SINCE

    @property
    def has_search(self) -> bool:
        """True if the vector index is queried by the clause SEARCH, False if by a procedure, deprecated since 2026.04.

        A server of Neo4j Aura is asked once, because its version does not tell.
        """
        if _AURA not in self.version:
            return _release(self.version) >= _SEARCH_SINCE
        if self._search is None:
            self._search = self._accepts(cypher.HAS_SEARCH)
        return self._search

    def _accepts(self, statement: str) -> bool:
        """Return False if the server finds an error in a statement's syntax."""
        from neo4j.exceptions import ClientError, CypherSyntaxError

        try:
            self.rows(statement)
        except DatabaseError as error:
            if not isinstance(error.__cause__, ClientError):
                raise
            return not isinstance(error.__cause__, CypherSyntaxError)
        return True


def _release(version: str) -> tuple[int, ...]:
    """Return the first two numbers of a version such as `2026.01.4` or `5.27-aura`."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


def _as_dictionary(record: "Record") -> dict[str, Any]:
    # Not record.data(), which searches every number of every vector for nodes to unfold: no statement returns nodes.
    return dict(record.items())


class _KeptDatabases(SharedWithinBlocks):
    """The connections of this process that stay open until the last `keep_connections` ends, by server and login."""

    def __init__(self) -> None:
        super().__init__()
        self._stack = ExitStack()
        self._databases: dict[tuple[Connection, str | None], Database] = {}

    def drop_all(self) -> None:
        """Close all connections."""
        self._databases.clear()
        self._stack.close()

    def get(self, server: Connection, name: str | None) -> Database:
        """Return the kept connection to a server; open it if there is none."""
        with self.lock:
            key = (server, name)
            if key not in self._databases:
                self._databases[key] = self._stack.enter_context(_connected(server, name))
            return self._databases[key]

    def forget(self, database: Database) -> None:
        """Let the next block try again whether the server is there."""
        with self.lock:
            self._databases = {key: kept for key, kept in self._databases.items() if kept is not database}


_kept = _KeptDatabases()


@contextmanager
def keep_connections() -> Iterator[None]:
    """Let `open_database` use the same connection again within the block, in all threads; close it at the end.

    To open one takes three round trips, over TLS more.
    """
    with _kept.block():
        yield


@contextmanager
def open_database(settings: Settings, *, progress: Any = None) -> Iterator[Database]:
    """Open a connection to the external Neo4j, or to the embedded one, which is started if need be.

    Within `keep_connections` it is the one that an earlier block has opened.

    Raises:
        DatabaseError: the server can't be reached or refuses the login.
        ServerError: the embedded server can't be started.
    """
    server, name = connection(settings, log=progress), settings.neo4j.database
    with translated(server.uri), ExitStack() as stack:
        if not _kept.is_kept:
            yield stack.enter_context(_connected(server, name))
            return
        database = _kept.get(server, name)
        try:
            yield database
        except DatabaseError:
            _kept.forget(database)
            raise


@contextmanager
def _connected(server: Connection, name: str | None) -> Iterator[Database]:
    driver = open_driver(server, notifications_min_severity="OFF", max_connection_lifetime=_REPLACED_AFTER_S)
    try:
        # First, because the driver repeats a query to an absent server for a while.
        server_info = driver.get_server_info()
        if name:
            driver.execute_query(cypher.PING, database_=name)
        yield Database(driver, name, server.uri, _version(server_info))
    finally:
        driver.close()


def _version(server_info: "ServerInfo") -> str:
    return server_info.agent.removeprefix("Neo4j/")


def server_versions(server: Connection) -> tuple[str | None, str | None]:
    """Return the versions of a server and of its Graph Data Science library; None for what is absent.

    Raises:
        DatabaseError: the server refuses the login, or its address is not usable.
    """
    from neo4j.exceptions import ClientError, ServiceUnavailable

    try:
        with translated(server.uri), open_driver(server) as driver:
            version = _version(driver.get_server_info())
            try:
                return version, driver.execute_query(cypher.GDS_VERSION).records[0]["version"]
            except ClientError:
                return version, None
    except DatabaseError as error:
        if isinstance(error.__cause__, ServiceUnavailable):
            return None, None
        raise


def similarity_graph_url(server: Connection) -> str:
    """Return the address of the embedded server's Neo4j Browser with the similarity graph's query in its editor.

    Raises:
        ServerError: the server is not the embedded one.
    """
    return browser_url(server, cypher.SHOW_SIMILARITY_GRAPH)


@contextmanager
def translated(uri: str) -> Iterator[None]:
    """Turn the driver's errors into named errors with a remedy."""
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
        raise UnreachableDatabaseError(
            f"Neo4j at {uri} can't be reached or the connection was lost ({_connection_fault(error)})",
            remedy=_connection_remedy(error, uri),
        ) from error
    except exceptions.Neo4jError as error:
        message = f"Neo4j at {uri} refused a statement: {error.message} ({error.code})"
        raise DatabaseError(message, remedy=_remedy(error.code or "")) from error


def _remedy(code: str) -> str:
    if "DatabaseNotFound" in code:
        return "set NEO4J_DATABASE to a database of that server, or remove it"
    if "OutOfMemory" in code or "MemoryPool" in code:
        return "give the server more memory (IMGRET_NEO4J_HEAP for the embedded one), then run again"
    return ""


def _connection_fault(error: Exception) -> str:
    """Return what the driver says in one line: of a refused certificate why, of everything else its first line."""
    refused = _certificate_error(error)
    if refused:
        return f"its certificate is refused: {refused.verify_message.rstrip('.')}"
    return first_line(error) or "no answer"


def _certificate_error(error: BaseException) -> ssl.SSLCertVerificationError | None:
    refused = (cause for cause in _causes(error) if isinstance(cause, ssl.SSLCertVerificationError))
    return next(refused, None)


def _connection_remedy(error: BaseException, uri: str) -> str:
    """Return what to do about a connection that was not made or was lost."""
    refused = _certificate_error(error)
    if refused:
        return _CERTIFICATE_REMEDIES.get(refused.verify_code, _UNTRUSTED)
    causes = list(_causes(error))
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return "the server does not speak TLS on this port: write NEO4J_URI without +s or +ssc, or turn on its TLS"
    if any("looks like HTTP" in str(cause) for cause in causes):
        return "NEO4J_URI names the port of Neo4j's pages; the driver's port is usually 7687"
    closed = any("handshake response" in str(cause) for cause in causes)
    if closed and not any(isinstance(cause, TimeoutError) for cause in causes) and "+s" not in uri:
        return (
            "the server closed the connection at the first word: if it requires TLS, write NEO4J_URI with +s or +ssc; "
            "else check its port"
        )
    return "start it, or check NEO4J_URI; without NEO4J_URI imgret runs its own server"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and everything that caused it; the driver collects those of several addresses in groups."""
    yield error
    grouped = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    for cause in (*grouped, error.__cause__):
        if cause is not None:
            yield from _causes(cause)
