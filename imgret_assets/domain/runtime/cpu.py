"""The processors that this process may use.

Belongs here: counting them. Not here: work on them.
"""

import math
import os

from imgret_assets.domain.runtime.cgroups import cpu_limit


def usable_threads() -> int:
    """Return how many threads can run at once, at least 1.

    That is the number of processors, or fewer where a scheduler binds the process to some of them or a container has a
    quota of processor time: a quota of 1.5 processors gives 2.
    """
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = cpu_limit()
    return processors if limit is None else max(1, min(processors, math.ceil(limit)))
