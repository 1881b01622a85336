"""A small disk of its own that can be filled: a file system in memory (tmpfs), where this user may mount one.

Belongs here: mounting, filling and freeing. Not here: what is tried on it.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

_BLOCK = bytes(4096)


class SmallDisk:
    """A mounted file system of a few MB."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / ".filler"

    def fill(self, *, leaving: int = 0) -> None:
        """Write until nothing fits any more, then free `leaving` bytes again, in whole blocks."""
        with self._filler.open("ab", buffering=0) as filler:
            with suppress(OSError):
                while filler.write(_BLOCK):
                    pass
            filler.truncate(max(0, filler.tell() - leaving))

    def free(self) -> None:
        """Give back all the space that `fill` has taken."""
        self._filler.unlink(missing_ok=True)


@contextmanager
def small_disk(path: Path, megabytes: float) -> Iterator[SmallDisk]:
    """Mount a file system of that size at `path`; skip the test where mounting is not allowed."""
    path.mkdir(parents=True, exist_ok=True)
    options = f"size={int(megabytes * 1024)}k"
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a file system can't be mounted here")
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=False, capture_output=True)
