"""The command `imgret duplicates`: duplicates of the duplicates table, and the image to keep for each.

Belongs here: options and printing. Not here: the rows (`domain.review.duplicate_list`), finding duplicates
(`domain.duplicates.duplicates_table`), deciding about them (`cli.review`). Imports neither dagster nor pandas.
"""

from pathlib import Path
from typing import Any

import click

from imgret_assets.cli.support.output import COSINE, Output, absolute_paths, exit_code, fail_on_found, output_options
from imgret_assets.cli.support.served_home import open_served_home
from imgret_assets.domain.duplicates.duplicate_search import DUPLICATE_KINDS, KINDS, LOOK_KINDS
from imgret_assets.domain.duplicates.orientations import MIRRORED, ROTATED
from imgret_assets.domain.review.duplicate_list import list_duplicates
from imgret_assets.settings import load_settings

_COLUMNS = ("path_from", "path_keep", "kind", "distance", "cosine", "bytes", "decision", "reason")


class _Kinds(click.ParamType):
    """One or more kinds with commas between them."""

    name = "kinds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        kinds = tuple(part.strip() for part in str(value).split(","))
        if unknown := [kind for kind in kinds if kind not in KINDS]:
            self.fail(f"{unknown[0]!r} is none of {', '.join(KINDS)}.", param, ctx)
        return kinds


@click.command()
@click.option(
    "--kind",
    "kinds",
    type=_Kinds(),
    default=",".join(DUPLICATE_KINDS),
    show_default=True,
    help=f"List only these of {', '.join(KINDS)}; exact alone groups files by their bytes alone.",
)
@click.option("--undecided", is_flag=True, help="List only pairs without a decision (`imgret review`).")
@output_options
@fail_on_found
@click.option("--home", type=click.Path(path_type=Path), help="Folder of tables, database and caches.")
def duplicates(kinds: tuple[str, ...], undecided: bool, output: Output, fail_on_found: bool, home: Path | None) -> int:
    """List exact duplicates and near-duplicates, and the image to keep for each; nothing is removed.

    As paths, only the duplicates are listed that may be removed: not those in protected folders, nor those that people
    decided to keep. look_first lists images that show the same scene as another, but differ from it in one place or in
    colour; mirrored and rotated list copies in another orientation, if IMGRET_ORIENTATIONS is on. None of these are
    duplicates.
    """
    opened = open_served_home(load_settings({"home": home}))
    listed = list_duplicates(opened, kinds, undecided=undecided)
    rows, removable = listed.rows, listed.removable
    pairs = [row for row in rows if row["kind"] in DUPLICATE_KINDS]
    output.emit(
        _COLUMNS,
        rows,
        document={**COSINE, "duplicates": rows},
        lines=[{**COSINE, **row} for row in rows],
        paths=absolute_paths(
            opened.images,
            (row["path_from"] for row in rows if row["path_from"] in removable or row["kind"] in LOOK_KINDS),
        ),
    )
    if pairs or not set(kinds) <= set(LOOK_KINDS):
        subject = "1 duplicate; removing it" if len(removable) == 1 else f"{len(removable):,} duplicates; removing them"
        kept = len(pairs) - len(removable)
        others = f"; {kept:,} more are protected or kept by decisions" if kept else ""
        click.echo(f"imgret: {subject} would free {sum(removable.values()) / 1e6:,.1f} MB{others}", err=True)
    if len(pairs) < len(rows):
        click.echo(f"imgret: {len(rows) - len(pairs):,} to look at first: these are no duplicates", err=True)
    if {MIRRORED, ROTATED} & set(kinds) and not opened.settings.orientations:
        click.echo("imgret: mirrored and rotated copies are searched by runs with IMGRET_ORIENTATIONS=on", err=True)
    return exit_code(any_result=bool(rows), fail_on_found=fail_on_found)
