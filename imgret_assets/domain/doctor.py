"""Checking what imgret needs on this machine, and what to do where it lacks.

Belongs here: one small look per need. Not here: mending anything.
"""

import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from imgret_assets.domain import server
from imgret_assets.domain.database import open_database
from imgret_assets.domain.files import check_root
from imgret_assets.domain.graph import check_owner
from imgret_assets.domain.home import Home, open_home
from imgret_assets.domain.models import resolve
from imgret_assets.errors import ImgretError
from imgret_assets.settings import Settings

FREE_GB = 2


@dataclass(frozen=True)
class Condition:
    """What one look found."""

    name: str
    ok: bool
    says: str


def examine(settings: Settings) -> list[Condition]:
    """Look at everything; nothing is started, made or changed but the home itself."""
    conditions = [_python(), *(Condition("settings", True, warning) for warning in settings.warnings)]
    try:
        home = open_home(settings)
    except ImgretError as error:
        return [*conditions, Condition("home", False, str(error))]
    looks: list[tuple[str, Callable[[Home], str]]] = [
        ("home", lambda home: f"{home.path}, {home.record.shards} shards"),
        ("disk", _disk),
        ("images", lambda home: str(check_root(home.images))),
        ("model", _model),
        ("dagster", _dagster),
        ("neo4j", _neo4j),
        ("graph", _graph),
    ]
    return conditions + [_look(name, look, home) for name, look in looks]


def _look(name: str, look: Callable[[Home], str], home: Home) -> Condition:
    try:
        return Condition(name, True, look(home))
    except ImgretError as error:
        return Condition(name, False, str(error))


def _python() -> Condition:
    fits = (3, 11) <= sys.version_info[:2] < (3, 15)
    return Condition("python", fits, f"{platform.python_version()}" + ("" if fits else ": 3.11 to 3.14 are supported"))


def _disk(home: Home) -> str:
    free = shutil.disk_usage(home.path).free / 1e9
    if free < FREE_GB:
        raise ImgretError(
            f"{free:.1f} GB are free on the disk of {home.path}",
            expected=f"at least {FREE_GB} GB",
            remedy="free some space",
        )
    return f"{free:.0f} GB free"


def _model(home: Home) -> str:
    model = resolve(home)
    return f"{model.space.id}, {model.space.dim} numbers, weights {model.weights or 'in the cache of timm'}"


def _dagster(home: Home) -> str:
    folder: Path = home.settings.dagster_home
    if not (folder / "dagster.yaml").is_file():
        raise ImgretError(f"{folder} is not made yet", remedy="run `imgret setup`")
    return str(folder)


def _neo4j(home: Home) -> str:
    if home.settings.neo4j.embedded and server.status(home.settings) is None:
        return "the embedded server is not running; it starts when it is needed"
    with open_database(home.settings) as database:
        gds = (
            "with Graph Data Science"
            if database.has_gds
            else "without Graph Data Science (the article's queries need it)"
        )
        return f"{database.uri}, version {database.version}, {gds}"


def _graph(home: Home) -> str:
    if home.settings.neo4j.embedded and server.status(home.settings) is None:
        return "not looked at"
    with open_database(home.settings) as database:
        state = check_owner(database, home)
    return f"{state.state}, {state.model}, built from {state.root}" if state else "nothing built yet: `imgret run`"
