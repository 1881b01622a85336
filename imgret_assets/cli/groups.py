"""The command `imgret groups`: groups of the groups table, the members of one group, its name and its export.

Belongs here: options and printing. Not here: finding groups (`domain.analysis.groups_table`), which group has which
name (`domain.review.group_names`), the exported files (`domain.operations.group_export`). Imports neither dagster
nor pandas.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from imgret_assets.cli.support.image_arguments import as_file, in_library
from imgret_assets.cli.support.output import COSINE, Output, absolute_paths, output_options
from imgret_assets.cli.support.served_home import open_served_home
from imgret_assets.domain.models.resolution import space_in_use
from imgret_assets.domain.operations.group_export import EXPORTS, LINKS, LIST, album, link_files, list_of_files
from imgret_assets.domain.review.group_names import name_group, read_group_names
from imgret_assets.domain.storage import atomic_files, permissions, tables
from imgret_assets.domain.storage.derived_tables import GROUPS
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import TableError
from imgret_assets.object_url import ImageFile
from imgret_assets.settings import load_settings
from imgret_assets.wording import counted, score_text

TIGHTEST, LARGEST = ORDERS = ("tightest", "largest")
_GROUP = ("size", "weakest_score", "name", "group")
_ALBUM_PX = 256
_MEMBER = ("score", "representative", "path")


@click.command()
@click.argument("group", required=False, type=click.Path(path_type=Path))
@click.option("--order", type=click.Choice(ORDERS), default=TIGHTEST, show_default=True, help="Order of the groups.")
@click.option(
    "--min-size", type=click.IntRange(2), default=2, show_default=True, help="List groups of at least this many images."
)
@click.option("--name", help='Name GROUP; the name stays with its images in later runs. "" takes the name away.')
@click.option("--by", help="Who gives the name (default: the user of the computer).")
@click.option("--to", type=click.Path(path_type=Path), metavar="PATH", help="Export GROUP to this file or folder.")
@click.option(
    "--as",
    "export_form",
    type=click.Choice(EXPORTS),
    default=LIST,
    show_default=True,
    help="With --to: a file with a path on each line, a folder of links, or an album (one HTML file).",
)
@output_options
@click.option("--home", type=click.Path(path_type=Path), help="Folder of tables, database and caches.")
def groups(
    group: Path | None,
    order: str,
    min_size: int,
    name: str | None,
    by: str | None,
    to: Path | None,
    export_form: str,
    output: Output,
    home: Path | None,
) -> None:
    """List groups of similar images, or name or export one of them.

    A group is listed with its size, its weakest score, its name and its representative. With GROUP, a group's name or
    any image in it, list the group's members with their cosines with the representative.
    """
    if group is None and (name is not None or to is not None):
        raise click.UsageError("--name and --to need GROUP: the group to name or export")
    opened = open_served_home(load_settings({"home": home}))
    space = space_in_use(opened).id
    rows = tables.read(GROUPS.require(opened.warehouse, space)).to_pylist()
    names = read_group_names(opened, {row["path"]: row["group"] for row in rows})
    header: dict[str, Any] = {**COSINE, "model": space}
    if group is None:
        _print_groups(opened, rows, names, header, order, min_size, output)
        return
    found = _group_of(opened, rows, names, group)
    members = _list_members(rows, found)
    if name is not None:
        click.echo(name_group(opened, name, [row["path"] for row in members], by=by))
        click.echo("imgret: recorded; `imgret review undo` undoes it", err=True)
    if to is not None:
        _export(opened, members, names.get(found, found) if name is None else name or found, to, export_form)
    if name is not None or to is not None:
        return
    weakest = min(row["score"] for row in members)
    facts = {"group": found, "name": names.get(found), "size": len(members), "weakest_score": weakest}
    output.emit(
        _MEMBER,
        members,
        document={**header, **facts, "members": members},
        paths=absolute_paths(opened.images, (row["path"] for row in members)),
    )


def _print_groups(
    home: Home,
    rows: list[dict[str, Any]],
    names: Mapping[str, str],
    header: dict[str, Any],
    order: str,
    min_size: int,
    output: Output,
) -> None:
    listed = _list_groups(rows, names, order, min_size)
    output.emit(
        _GROUP,
        listed,
        document={**header, "groups": listed},
        paths=absolute_paths(home.images, (row["group"] for row in listed)),
    )
    grouped = sum(row["size"] for row in listed)
    click.echo(
        f"imgret: {counted(len(listed), 'group')} of {counted(grouped, 'image')}; {counted(len(rows), 'image')} in all",
        err=True,
    )


def _export(home: Home, members: list[dict[str, Any]], title: str, to: Path, form: str) -> None:
    """Write the members of a group to a file or folder, and print its path."""
    files = [home.images / row["path"] for row in members]
    with permissions.users_umask():
        if form == LINKS:
            link_files(files, to)
        else:
            # Imported here, because only an album needs the decoders.
            from imgret_assets.domain.images.contact_sheets import thumbnail

            captions = [f"{row['path']} · {score_text(row['score'])}" for row in members]
            text = list_of_files(files) if form == LIST else album(title, files, captions, _thumbnail_of(thumbnail))
            with atomic_files.replacing(to) as temporary:
                temporary.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "xmlcharrefreplace"))
    click.echo(to)
    click.echo(f"imgret: {counted(len(files), 'image')} exported", err=True)


def _thumbnail_of(thumbnail: Callable[..., bytes]) -> Callable[[ImageFile], bytes]:
    return lambda file: thumbnail(file, size=_ALBUM_PX)


def _list_groups(
    rows: list[dict[str, Any]], names: Mapping[str, str], order: str, min_size: int
) -> list[dict[str, Any]]:
    listed = [
        {column: names.get(row["group"]) if column == "name" else row[column] for column in _GROUP}
        for row in rows
        if row["representative"] and row["size"] >= min_size
    ]
    if order == LARGEST:
        return sorted(listed, key=lambda row: (-row["size"], row["group"]))
    return sorted(listed, key=lambda row: (-row["weakest_score"], row["group"]))


def _list_members(rows: list[dict[str, Any]], group: str) -> list[dict[str, Any]]:
    """Return the members of a group, the representative first, then by score."""
    members = [{name: row[name] for name in _MEMBER} for row in rows if row["group"] == group]
    return sorted(members, key=lambda row: (not row["representative"], -row["score"], row["path"]))


def _group_of(home: Home, rows: list[dict[str, Any]], names: Mapping[str, str], argument: Path) -> str:
    """Return the group that has a name or an image; an image is given as its path in the library, or as a file."""
    group_of = {row["path"]: row["group"] for row in rows}
    named = [group for group, name in names.items() if name == str(argument)]
    if len(named) > 1:
        raise TableError(
            f"{counted(len(named), 'group')} have the name {argument}: {', '.join(sorted(named))}",
            remedy="give an image of the group",
        )
    if named:
        return named[0]
    for path in (argument.as_posix(), in_library(as_file(argument, home.images), home.images)):
        if path in group_of:
            return group_of[path]
    raise TableError(
        f"{argument} is in no group: it is not among the {len(rows):,} usable images of {home.images}",
        remedy="give a group or its name as `imgret groups` prints it, or the path of an image under the image root",
    )
