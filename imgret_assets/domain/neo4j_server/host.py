"""What the embedded server must know of this machine: processes, ports, memory, its log.

Belongs here: questions to the operating system that any server would ask. Not here: Neo4j
(`domain.neo4j_server.lifecycle`).
"""

import os
import re
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from imgret_assets.errors import SettingError

LOCALHOST = "127.0.0.1"
LOG_TAIL_LINES = 20
LOG_ROTATE_BYTES = 10_000_000
SMALLEST_MEMORY_MB = 128


def process_start(pid: int) -> str | None:
    """When a process began, comparable only with itself; None when there is none (or only its zombie)."""
    if sys.platform == "linux":
        try:
            # The name, in parentheses, may hold spaces and parentheses of its own.
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        except OSError:
            return None
        return None if fields[0] in "ZX" else f"{boot} {fields[19]}"
    answer = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, started = answer.stdout.strip().partition(" ")
    return started.strip() if started and not state.startswith("Z") else None


def command_line(pid: int) -> str:
    """A process's arguments, each followed by a blank; "" when there is none."""
    if sys.platform == "linux":  # where a slim container has no ps
        with suppress(OSError):
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        return ""
    command = ["ps", "-ww", "-o", "args=", "-p", str(pid)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def is_free(port: int, address: str = LOCALHOST) -> bool:
    """True when a server on this machine could listen there."""
    with socket.socket(_family(address)) as probe:
        # As the server itself binds: connections of an ended server that linger don't make the port taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
            probe.listen(1)
        except OSError:
            return False
    return not listens(port, address)


def any_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((LOCALHOST, 0))
        return probe.getsockname()[1]


def listens(port: int, address: str = LOCALHOST) -> bool:
    """True when somebody answers there."""
    with socket.socket(_family(address)) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((address, port)) == 0


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def memory_mb(heap: str, pagecache: str) -> tuple[int, int]:
    """Heap and page cache in MB: as set, but at most a quarter and an eighth of what this machine may use.

    Raises:
        SettingError: one of them is not of the form 512m or 2g.
    """
    machine = _machine_memory_mb()
    asked = (_megabytes("IMGRET_NEO4J_HEAP", heap), _megabytes("IMGRET_NEO4J_PAGECACHE", pagecache))
    most = (max(SMALLEST_MEMORY_MB, machine // 4), max(SMALLEST_MEMORY_MB, machine // 8))
    return min(asked[0], most[0]), min(asked[1], most[1])


def _megabytes(name: str, size: str) -> int:
    found = re.fullmatch(r"(\d+)([mMgG])[bB]?", size.strip())
    megabytes = int(found[1]) * (1024 if found[2] in "gG" else 1) if found else 0
    if megabytes < SMALLEST_MEMORY_MB:
        raise SettingError(f"{name} is {size!r}", expected=f"a size such as 512m or 2g, {SMALLEST_MEMORY_MB}m at least")
    return megabytes


def _machine_memory_mb() -> int:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    # A container may be given less than the machine has.
    with suppress(OSError, ValueError):
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    return total // 2**20


def log_tail(path: Path, *, lines: int = LOG_TAIL_LINES, since: int = 0) -> str:
    """The last lines of a log, without what was in it before byte `since`."""
    try:
        with path.open("rb") as log:
            log.seek(max(since, log.seek(0, os.SEEK_END) - 500_000))
            text = log.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def rotate(log: Path) -> int:
    """Keep one older log beside the current one; returns the current one's length in bytes."""
    try:
        length = log.stat().st_size
    except FileNotFoundError:
        return 0
    if length > LOG_ROTATE_BYTES:
        log.replace(log.with_suffix(".log.1"))
        return 0
    return length
