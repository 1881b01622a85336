"""One connection to Neo4j for all threads of a process that serves many clients.

Belongs here: keeping it open, opening it again after it broke. Not here: opening one (`domain.graph.connection`), what
is read over it (`app.data_access`, `api`).
"""

import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import TypeVar

from imgret_assets.domain.graph.connection import Database, open_database
from imgret_assets.errors import DatabaseError
from imgret_assets.settings import Settings

Result = TypeVar("Result")


class DatabaseHolder:
    """One open connection, shared by all threads of a server."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._database: Database | None = None

    def use(self, work: Callable[[Database], Result]) -> Result:
        """Return what `work` makes of the connection; a broken connection is replaced first.

        Raises:
            DatabaseError: there is no graph, or the server can't be reached.
            ServerError: the embedded server can't be started.
        """
        from neo4j.exceptions import DriverError

        database = self._open()
        try:
            return work(database)
        except DriverError as error:
            # The only one of the driver's errors left: another thread found the connection broken and closed it.
            raise DatabaseError(f"The connection to {database.uri} was lost ({error})", remedy="try again") from error

    def close(self) -> None:
        """Close the connection; the next use opens another one."""
        with self._lock:
            self._close()

    def _open(self) -> Database:
        # Not under the lock: threads would wait for one another's round trip to the server.
        found = self._database
        if found is not None and _is_alive(found):
            return found
        with self._lock:
            # Another thread may have opened a new connection in the meantime.
            if self._database is found:
                self._close()
            if self._database is None:
                self._database = self._stack.enter_context(open_database(self._settings))
            return self._database

    def _close(self) -> None:
        self._database = None
        self._stack.close()


def _is_alive(database: Database) -> bool:
    """Return True if the server answers: a query to a server that is down would be retried for half a minute."""
    from neo4j.exceptions import DriverError, Neo4jError

    try:
        database.driver.verify_connectivity()
    except (DriverError, Neo4jError):
        return False
    return True
