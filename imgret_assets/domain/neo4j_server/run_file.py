"""The files that the embedded server of a home has, and the record of the running one.

Belongs here: the folder, reading and checking the record. Not here: starting and stopping
(`domain.neo4j_server.lifecycle`).
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from imgret_assets.domain.neo4j_server import host
from imgret_assets.domain.storage.atomic_files import named_errors, write_json
from imgret_assets.settings import Settings

USERNAME = "neo4j"
BOLT_PORT = 7687
HTTP_PORT = 7474


@dataclass(frozen=True)
class Connection:
    """How to reach a Neo4j.

    Attributes:
        uri: such as bolt://127.0.0.1:7687.
        username: the user who logs in.
        password: never in a message, a log or this object's repr.
        http_port: of the Neo4j Browser; None for a server that imgret did not start.
        pid: the server's process; None for a server that imgret did not start.
        version: of the server; None where only the server itself knows it.
        ca: file of the certificates to trust under a scheme ending in +s; None for the system's.
    """

    uri: str
    username: str
    password: str = field(repr=False)
    http_port: int | None = None
    pid: int | None = None
    version: str | None = None
    ca: Path | None = None


@dataclass(frozen=True)
class RunFile:
    """The record of a started server, for later processes.

    Attributes:
        pid: its process.
        started: when that process began (`host.process_start`), which distinguishes it from a later one of the same
            number.
        bolt_port: port of the driver.
        http_port: port of the Neo4j Browser.
        version: of the server.
        gds_version: of the Graph Data Science library.
        folder: device and inode of the server's folder: the original's server does not serve a copied home.
        state: `starting` until it has answered under our password, then `running`, in the end `stopping`.
    """

    pid: int
    started: str
    bolt_port: int
    http_port: int
    version: str
    gds_version: str
    folder: tuple[int, int]
    state: str = "starting"

    def is_alive(self) -> bool:
        """Return True while the recorded process runs."""
        return host.process_start(self.pid) == self.started

    def connection(self, password: str) -> Connection:
        """Return the connection to this server."""
        return Connection(
            uri=f"bolt://{host.LOCALHOST}:{self.bolt_port}",
            username=USERNAME,
            password=password,
            http_port=self.http_port,
            pid=self.pid,
            version=self.version,
        )


class ServerFolder:
    """The files of a home's embedded server."""

    def __init__(self, settings: Settings) -> None:
        self.path = settings.home / "neo4j"
        self.configuration = self.path / "conf" / "neo4j.conf"
        self.log = self.path / "logs" / "console.log"
        self.data = self.path / "data"
        self.run = self.path / "run"
        self.run_file = self.run / "imgret.json"
        self.pid_file = self.run / "imgret.pid"
        self.lock = self.path / "imgret.lock"
        self.secret = self.path / "password.json"

    def make(self) -> None:
        """Create the folders that are missing.

        Raises:
            DiskFullError, HomeError: they can't be made.
        """
        with named_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            for name in ("conf", "data", "logs", "run", "import"):
                (self.path / name).mkdir(exist_ok=True)

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode: a moved home keeps them, a copy has others."""
        status = self.path.stat()
        return status.st_dev, status.st_ino

    def has_started_before(self) -> bool:
        """Return True once the server has made its system database, after which the first password is fixed."""
        return (self.data / "databases" / "system").exists()

    def record(self, server: RunFile) -> None:
        """Write the record of a server."""
        write_json(self.run_file, asdict(server))

    def remove_record(self) -> None:
        """Remove all records of a server."""
        self.run_file.unlink(missing_ok=True)
        self.pid_file.unlink(missing_ok=True)


def read_run_file(folder: ServerFolder) -> RunFile | None:
    """Return the recorded server, if its process runs and serves this very folder."""
    try:
        values = json.loads(folder.run_file.read_text(encoding="utf-8"))
        values["folder"] = tuple(values["folder"])
        server = RunFile(**values)
        if server.folder != folder.identity:
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return server if server.is_alive() else None
