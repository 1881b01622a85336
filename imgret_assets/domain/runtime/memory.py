"""The memory that this process may use.

Belongs here: measuring it. Not here: dividing it up.
"""

from imgret_assets.domain.runtime.cgroups import memory_limit_bytes


def usable_memory_bytes() -> int:
    """Return the machine's memory in bytes, or the limit of a container where that is less."""
    import psutil  # loading it takes longer than most commands need

    total = psutil.virtual_memory().total
    limit = memory_limit_bytes()
    return total if limit is None else min(total, limit)
