"""The processors that this process may use.

Belongs here: counting them, and leaving some to others. Not here: work on them.
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


def bind_to_processors(first: int, count: int) -> None:
    """Bind this process and the threads that it will start to some of its processors; nothing where there are no more.

    Libraries that start threads of their own, such as OpenVINO, keep to them as well.

    Args:
        first: number of the first processor, counted round this process's own.
        count: number of processors.
    """
    if not hasattr(os, "sched_setaffinity"):
        return
    own = sorted(os.sched_getaffinity(0))
    if count < len(own):
        os.sched_setaffinity(0, {own[(first + number) % len(own)] for number in range(count)})
