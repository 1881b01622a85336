"""Who may read what imgret writes: its owner alone, unless IMGRET_READABLE_BY says otherwise.

Belongs here: the umask of imgret's processes. Not here: passwords, whose files nobody else may read in any case
(`domain.neo4j_server.login`).
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

# The umask for each value of the setting. Nobody but the owner may ever write.
UMASKS: Mapping[str, int] = {"owner": 0o077, "group": 0o027, "all": 0o022}

# The umask with which this process was started; None until `restrict` has replaced it.
_users_umask: int | None = None


def restrict(readable_by: str) -> None:
    """Set the umask of this process and of those that it starts: the Neo4j server, Dagster's and the page's.

    Args:
        readable_by: one of `UMASKS`.
    """
    global _users_umask
    previous = os.umask(UMASKS[readable_by])
    if _users_umask is None:
        _users_umask = previous


@contextmanager
def users_umask() -> Iterator[None]:
    """Restore the umask with which the process was started, for files that the user asked for outside the home.

    The umask is the whole process's: only a command without threads that write to the home may call this.
    """
    if _users_umask is None:
        yield
        return
    restricted = os.umask(_users_umask)
    try:
        yield
    finally:
        os.umask(restricted)
