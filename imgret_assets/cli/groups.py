"""`imgret groups`: the groups of images that belong together, as the groups table says.

Belongs here: options and printing. Not here: finding groups (`domain.analysis.groups_table`). Imports neither dagster
nor pandas.
"""

from pathlib import Path
from typing import Any

import click

from imgret_assets.cli.support.image_arguments import as_file, in_library, space_in_use
from imgret_assets.cli.support.output import COSINE, Output, absolute_paths, output_options
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.derived_tables import GROUPS
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.errors import TableError
from imgret_assets.settings import load_settings

TIGHTEST, LARGEST = ORDERS = ("tightest", "largest")
_GROUP = ("size", "weakest_score", "group")
_MEMBER = ("score", "representative", "path")


@click.command()
@click.argument("group", required=False, type=click.Path(path_type=Path))
@click.option("--order", type=click.Choice(ORDERS), default=TIGHTEST, show_default=True, help="Which groups first.")
@click.option("--min-size", type=click.IntRange(2), default=2, show_default=True, help="Groups of at least so many.")
@output_options
@click.option("--home", type=click.Path(path_type=Path), help="Folder of tables, database and caches.")
def groups(group: Path | None, order: str, min_size: int, output: Output, home: Path | None) -> None:
    """List groups of images that belong together: size, weakest link, and the image that stands for each.

    With GROUP, a group's name or any image in it, list its members with their cosines to the one that stands for it.
    """
    opened = open_home(load_settings({"home": home}))
    space = space_in_use(opened).id
    path = GROUPS.require(opened.warehouse, space)
    rows = tables.read(path).to_pylist()
    said: dict[str, Any] = {**COSINE, "model": space}
    if group is None:
        found = _listed(rows, order, min_size)
        output.emit(
            _GROUP,
            found,
            document={**said, "groups": found},
            paths=absolute_paths(opened.images, (row["group"] for row in found)),
        )
        together = sum(row["size"] for row in found)
        click.echo(f"imgret: {len(found):,} groups of {together:,} images; {len(rows):,} images in all", err=True)
        return
    name = _group_of(opened, rows, group)
    members = _members(rows, name)
    weakest = min(row["score"] for row in members)
    output.emit(
        _MEMBER,
        members,
        document={**said, "group": name, "size": len(members), "weakest_score": weakest, "members": members},
        paths=absolute_paths(opened.images, (row["path"] for row in members)),
    )


def _listed(rows: list[dict[str, Any]], order: str, min_size: int) -> list[dict[str, Any]]:
    found = [{name: row[name] for name in _GROUP} for row in rows if row["representative"] and row["size"] >= min_size]
    if order == LARGEST:
        return sorted(found, key=lambda row: (-row["size"], row["group"]))
    return sorted(found, key=lambda row: (-row["weakest_score"], row["group"]))


def _members(rows: list[dict[str, Any]], group: str) -> list[dict[str, Any]]:
    """The one that stands for the group first, then the nearest to it."""
    found = [{name: row[name] for name in _MEMBER} for row in rows if row["group"] == group]
    return sorted(found, key=lambda row: (not row["representative"], -row["score"], row["path"]))


def _group_of(home: Home, rows: list[dict[str, Any]], given: Path) -> str:
    group_of = {row["path"]: row["group"] for row in rows}
    # A path of the library as it stands, else a file that is one.
    for name in (given.as_posix(), in_library(as_file(given, home.images), home.images)):
        if name in group_of:
            return group_of[name]
    raise TableError(
        f"{given} is in no group: it is not among the {len(rows):,} usable images of {home.images}",
        remedy="give a group's name as `imgret groups` prints it, or the path of an image under the image root",
    )
