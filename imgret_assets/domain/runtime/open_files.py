"""How many files this process may have open: the usual limit, 256 or 1,024, is too low for hundreds of shards.

Belongs here: the limit of the operating system. Not here: what opens the files.
"""

import resource
from contextlib import suppress

# What a process has open beside them: libraries, connections, logs.
_OTHERS = 256


def allow(count: int) -> None:
    """Raise this process's limit so far that it may open `count` more files, where the operating system lets it.

    Where it does not, opening them fails with an error that says so.
    """
    needed = count + _OTHERS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft in (-1, resource.RLIM_INFINITY) or soft >= needed:
        return
    highest = needed if hard in (-1, resource.RLIM_INFINITY) else min(needed, hard)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, highest), hard))
