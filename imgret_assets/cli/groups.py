"""The command `imgret groups`: groups of the groups table, and the members of one group.

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
from imgret_assets.wording import counted

TIGHTEST, LARGEST = ORDERS = ("tightest", "largest")
_GROUP = ("size", "weakest_score", "group")
_MEMBER = ("score", "representative", "path")


@click.command()
@click.argument("group", required=False, type=click.Path(path_type=Path))
@click.option("--order", type=click.Choice(ORDERS), default=TIGHTEST, show_default=True, help="Order of the groups.")
@click.option(
    "--min-size", type=click.IntRange(2), default=2, show_default=True, help="List groups of at least this many images."
)
@output_options
@click.option("--home", type=click.Path(path_type=Path), help="Folder of tables, database and caches.")
def groups(group: Path | None, order: str, min_size: int, output: Output, home: Path | None) -> None:
    """List groups of similar images: size, weakest score, and the representative.

    With GROUP, a group's name or any image in it, list the group's members with their cosines with the representative.
    """
    opened = open_home(load_settings({"home": home}))
    space = space_in_use(opened).id
    rows = tables.read(GROUPS.require(opened.warehouse, space)).to_pylist()
    header: dict[str, Any] = {**COSINE, "model": space}
    if group is None:
        listed = _list_groups(rows, order, min_size)
        output.emit(
            _GROUP,
            listed,
            document={**header, "groups": listed},
            paths=absolute_paths(opened.images, (row["group"] for row in listed)),
        )
        grouped = sum(row["size"] for row in listed)
        click.echo(
            f"imgret: {counted(len(listed), 'group')} of {counted(grouped, 'image')}; "
            f"{counted(len(rows), 'image')} in all",
            err=True,
        )
        return
    name = _group_of(opened, rows, group)
    members = _list_members(rows, name)
    weakest = min(row["score"] for row in members)
    output.emit(
        _MEMBER,
        members,
        document={**header, "group": name, "size": len(members), "weakest_score": weakest, "members": members},
        paths=absolute_paths(opened.images, (row["path"] for row in members)),
    )


def _list_groups(rows: list[dict[str, Any]], order: str, min_size: int) -> list[dict[str, Any]]:
    listed = [{name: row[name] for name in _GROUP} for row in rows if row["representative"] and row["size"] >= min_size]
    if order == LARGEST:
        return sorted(listed, key=lambda row: (-row["size"], row["group"]))
    return sorted(listed, key=lambda row: (-row["weakest_score"], row["group"]))


def _list_members(rows: list[dict[str, Any]], group: str) -> list[dict[str, Any]]:
    """Return the members of a group, the representative first, then by score."""
    members = [{name: row[name] for name in _MEMBER} for row in rows if row["group"] == group]
    return sorted(members, key=lambda row: (not row["representative"], -row["score"], row["path"]))


def _group_of(home: Home, rows: list[dict[str, Any]], argument: Path) -> str:
    """Return the group of an image; the argument is its path in the library, or a file."""
    group_of = {row["path"]: row["group"] for row in rows}
    for path in (argument.as_posix(), in_library(as_file(argument, home.images), home.images)):
        if path in group_of:
            return group_of[path]
    raise TableError(
        f"{argument} is in no group: it is not among the {len(rows):,} usable images of {home.images}",
        remedy="give a group's name as `imgret groups` prints it, or the path of an image under the image root",
    )
