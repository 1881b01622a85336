"""Processes, ports, memory and log files of this machine, as the embedded server needs them.

Belongs here: questions to the operating system that any server would have. Not here: Neo4j
(`domain.neo4j_server.lifecycle`).
"""

import os
import re
import socket
import sys
from pathlib import Path

from imgret_assets.domain.runtime.memory import usable_memory_bytes
from imgret_assets.errors import SettingError

LOCALHOST = "127.0.0.1"
LOG_TAIL_LINES = 20
LOG_ROTATE_BYTES = 10_000_000
SMALLEST_MEMORY_MB = 128


def process_start(pid: int) -> str | None:
    """Return when a process began, to be compared with an earlier answer; None where there is none, or its zombie.

    On Linux it is the boot's identifier and the clock ticks since then, which the kernel never changes. psutil's
    `create_time` adds the time of the boot to the ticks, and that moves when the clock is set.
    """
    if sys.platform != "linux":
        return _process_start_by_psutil(pid)
    try:
        # The name, in parentheses, may contain spaces and parentheses.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None
    state, start_ticks = fields[0], fields[19]
    return None if state in "ZX" else f"{boot} {start_ticks}"


def _process_start_by_psutil(pid: int) -> str | None:
    import psutil  # loading it takes longer than most commands need

    try:
        process = psutil.Process(pid)
        ended = process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
        return None if ended else repr(process.create_time())
    except psutil.Error:
        return None


def process_arguments(pid: int) -> list[str]:
    """Return a process's command and arguments; none where there is no such process, or only its zombie."""
    import psutil  # loading it takes longer than most commands need

    try:
        return psutil.Process(pid).cmdline()
    except psutil.Error:
        return []


def process_numbers() -> list[int]:
    """Return the numbers of all processes that can be seen from here."""
    import psutil  # loading it takes longer than most commands need

    return psutil.pids()


def process_working_folder(pid: int) -> tuple[int, int] | None:
    """Return device and inode of the folder in which a process works; None where that can't be known.

    On Linux also for a folder that was moved, removed or lies in a container, which its name would not tell.
    """
    try:
        if sys.platform == "linux":
            status = Path(f"/proc/{pid}/cwd").stat()
        else:
            import psutil  # loading it takes longer than most commands need

            status = Path(psutil.Process(pid).cwd()).stat()
    except Exception:
        return None
    return status.st_dev, status.st_ino


def is_port_free(port: int, address: str = LOCALHOST) -> bool:
    """Return True where a server on this machine could listen."""
    with socket.socket(_family(address)) as probe:
        # As the server itself binds: connections of an ended server that linger don't make the port taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
            probe.listen(1)
        except OSError:
            return False
    return not is_listening(port, address)


def unused_port() -> int:
    """Return a port on which nothing listens now."""
    with socket.socket() as probe:
        probe.bind((LOCALHOST, 0))
        return probe.getsockname()[1]


def is_listening(port: int, address: str = LOCALHOST) -> bool:
    """Return True where a server accepts a connection."""
    with socket.socket(_family(address)) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((address, port)) == 0


def listening_ports(pid: int) -> frozenset[int] | None:
    """Return the TCP ports on which a process listens; None where the operating system does not tell."""
    import psutil  # loading it takes longer than most commands need

    try:
        connections = psutil.Process(pid).net_connections("tcp")
    except (psutil.Error, OSError):
        return None
    return frozenset(found.laddr.port for found in connections if found.status == psutil.CONN_LISTEN)


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def server_memory_mb(heap: str, pagecache: str) -> tuple[int, int]:
    """Return heap and page cache in MB: as set, but at most a quarter and an eighth of the usable memory.

    Args:
        heap: the setting IMGRET_NEO4J_HEAP, such as `512m` or `2g`.
        pagecache: the setting IMGRET_NEO4J_PAGECACHE.

    Raises:
        SettingError: one of them does not have that form.
    """
    usable_mb = usable_memory_bytes() // 2**20
    set_mb = (_megabytes("IMGRET_NEO4J_HEAP", heap), _megabytes("IMGRET_NEO4J_PAGECACHE", pagecache))
    limits_mb = (max(SMALLEST_MEMORY_MB, usable_mb // 4), max(SMALLEST_MEMORY_MB, usable_mb // 8))
    return min(set_mb[0], limits_mb[0]), min(set_mb[1], limits_mb[1])


def _megabytes(setting: str, size: str) -> int:
    match = re.fullmatch(r"(\d+)([mMgG])[bB]?", size.strip())
    megabytes = int(match[1]) * (1024 if match[2] in "gG" else 1) if match else 0
    if megabytes < SMALLEST_MEMORY_MB:
        raise SettingError(
            f"{setting} is {size!r}", expected=f"a size such as 512m or 2g, {SMALLEST_MEMORY_MB}m at least"
        )
    return megabytes


def log_tail(path: Path, *, lines: int = LOG_TAIL_LINES, since: int = 0) -> str:
    """Return the last lines of a log, without anything before byte `since`; "" where there is no log."""
    try:
        with path.open("rb") as log:
            log.seek(max(since, log.seek(0, os.SEEK_END) - 500_000))
            text = log.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def rotate_log(log: Path) -> int:
    """Move a long log to a name of its own, of which one is kept; return the current log's length in bytes."""
    try:
        length = log.stat().st_size
    except FileNotFoundError:
        return 0
    if length > LOG_ROTATE_BYTES:
        log.replace(log.with_suffix(".log.1"))
        return 0
    return length
