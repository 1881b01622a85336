"""How many cores there are for us.

Belongs here: counting them. Not here: what is done on them.
"""

import os


def usable_threads() -> int:
    """Cores this process may run on, at least 1: fewer than there are where a container or a scheduler says so."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
