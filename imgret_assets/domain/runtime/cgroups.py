"""The limits of Linux control groups, which containers and schedulers set: processor time and memory.

Belongs here: finding this process's groups and reading their limits, of both versions of control groups. Not here: what
follows from a limit (`domain.runtime.cpu`, `domain.runtime.memory`).
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

PROCESS = Path("/proc/self")


def cpu_limit(process: Path = PROCESS) -> float | None:
    """Return the processors' worth of time that this process may use, such as 1.5; None for no limit.

    It is the quota of a period divided by the period: `cpu.max` in version 2, `cpu.cfs_quota_us` and
    `cpu.cfs_period_us` in version 1. The smallest of the process's group and the groups above it counts.

    Args:
        process: the folder of the process in /proc.
    """
    limits = []
    for folder in _folders(process, "cpu"):
        with suppress(OSError, ValueError):
            quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
            limits.append(int(quota) / int(period))  # int("max") is a ValueError: no limit
        with suppress(OSError, ValueError):
            quota, period = (int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
            limits.append(quota / period)
    return min((limit for limit in limits if limit > 0), default=None)


def memory_limit_bytes(process: Path = PROCESS) -> int | None:
    """Return the bytes of memory that this process's group may use; None for no limit.

    It is `memory.max` in version 2 and `memory.limit_in_bytes` in version 1, where no limit is a number larger than
    any memory. The smallest of the process's group and the groups above it counts.

    Args:
        process: the folder of the process in /proc.
    """
    limits = []
    for folder in _folders(process, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            with suppress(OSError, ValueError):
                limits.append(int((folder / name).read_text(encoding="ascii")))
    return min(limits, default=None)


def _folders(process: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of the groups that a controller applies to the process, each group before those above it.

    A container often sees the host's path of its group, of which nothing but the mounted top exists.
    """
    try:
        mounts = (process / "mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        groups = dict(_groups((process / "cgroup").read_text(encoding="utf-8", errors="surrogateescape")))
    except OSError:
        return
    for mount in mounts:
        # id, parent, device, root, mount point, options, …, "-", type, source, options of the file system
        fields, _, file_system = (part.split() for part in mount.partition(" - "))
        kind, options = file_system[0], file_system[-1].split(",")
        group = groups.get("" if kind == "cgroup2" else controller)
        if group is None or not (kind == "cgroup2" or (kind == "cgroup" and controller in options)):
            continue
        root, top = PurePosixPath(_unescape(fields[3])), Path(_unescape(fields[4]))
        below = group.relative_to(root) if group.is_relative_to(root) else group.relative_to("/")
        yield from (top / part for part in (below, *below.parents))


def _groups(text: str) -> Iterator[tuple[str, PurePosixPath]]:
    """Yield a controller and the path of the process's group for it; "" is the one hierarchy of version 2."""
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        yield from ((controller, PurePosixPath(path)) for controller in controllers.split(","))


def _unescape(path: str) -> str:
    r"""Return a path of mountinfo, where blanks and backslashes are octal numbers such as `\040`."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path)
