"""What a running server leaves on disk: addresses, process, login.

Belongs here: reading and checking it. Not here: starting (`domain.neo4j_server.lifecycle`).
"""

import json
from dataclasses import dataclass, field

from imgret_assets.domain.neo4j_server import host as machine
from imgret_assets.domain.neo4j_server.host import LOCALHOST
from imgret_assets.settings import Settings

USERNAME = "neo4j"
BOLT_PORT = 7687
HTTP_PORT = 7474


@dataclass(frozen=True)
class Connection:
    """How to reach a Neo4j.

    Attributes:
        uri: such as bolt://127.0.0.1:7687.
        username: who logs in.
        password: never in a message, a log or this object's repr.
        http_port: of the Neo4j Browser; None where the server is not ours.
        pid: the server's process; None where the server is not ours.
        version: of the server; None where it is not known without asking.
    """

    uri: str
    username: str
    password: str = field(repr=False)
    http_port: int | None = None
    pid: int | None = None
    version: str | None = None


@dataclass(frozen=True)
class RunFile:
    """What is recorded about a started server, for the processes that come later.

    Attributes:
        pid: its process.
        started: when that process began, in the system's own terms: tells it from a later one of the same number.
        bolt_port: where the driver connects.
        http_port: where the Browser is.
        version: of the server.
        gds_version: of the Graph Data Science library.
        folder: device and inode of the server's folder: a copied home is not served by the original's server.
        state: `starting` until it has answered with our password, then `running`, in the end `stopping`.
    """

    pid: int
    started: str
    bolt_port: int
    http_port: int
    version: str
    gds_version: str
    folder: tuple[int, int]
    state: str = "starting"


class ServerFolder:
    """Where the embedded server of a home keeps its files."""

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
        """Create the folders that are missing."""
        self.path.mkdir(parents=True, exist_ok=True)
        for name in ("conf", "data", "logs", "run", "import"):
            (self.path / name).mkdir(exist_ok=True)

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode: the same after the home was moved, another for a copy."""
        found = self.path.stat()
        return found.st_dev, found.st_ino

    def has_started_before(self) -> bool:
        """True when the server has made its system database, after which the first password is fixed."""
        return (self.data / "databases" / "system").exists()


def read_run_file(folder: ServerFolder) -> RunFile | None:
    """The recorded server, if its process lives and serves this very folder."""
    try:
        values = json.loads(folder.run_file.read_text(encoding="utf-8"))
        values["folder"] = tuple(values["folder"])
        found = RunFile(**values)
        if found.folder != folder.identity:
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if _lives(found) else None


def _lives(found: RunFile) -> bool:
    return machine.process_start(found.pid) == found.started


def _connection(found: RunFile, password: str) -> Connection:
    return Connection(
        uri=f"bolt://{LOCALHOST}:{found.bolt_port}",
        username=USERNAME,
        password=password,
        http_port=found.http_port,
        pid=found.pid,
        version=found.version,
    )
