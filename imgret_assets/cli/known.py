"""`imgret known`: which files of a folder are already in the library, before they are imported.

Belongs here: options and printing. Not here: the check of one file (`domain.search.known`), formats of output
(`cli.support.output`). Imports neither dagster nor pandas.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click

from imgret_assets.cli.query import import_driver_without_pandas, progress_bar
from imgret_assets.cli.support.image_arguments import files_in
from imgret_assets.cli.support.output import COSINE, EXIT_FOUND, Output, output_options
from imgret_assets.cli.support.served_home import note_state, open_newest_home
from imgret_assets.domain.graph.connection import open_database
from imgret_assets.domain.search.known import Checked, check_known
from imgret_assets.domain.search.query import Query, read_query
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import EXIT_FAILED, ImageError
from imgret_assets.object_url import ImageFile
from imgret_assets.settings import load_settings
from imgret_assets.terminal import printable

_COLUMNS = ("file", "known_as", "kind", "score")


@click.command()
@click.argument("folders", metavar="FOLDER...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--new", "lists_new", is_flag=True, help="List the files that are not in the library instead.")
@click.option(
    "--min-score",
    type=float,
    help="Count a file as known, too, if an image of the library has at least this raw cosine with it.",
)
@output_options
@click.option("--home", type=click.Path(path_type=Path), help="Folder of tables, database and caches.")
def known(
    folders: tuple[Path, ...], lists_new: bool, min_score: float | None, output: Output, home: Path | None
) -> int:
    """List the image files of FOLDER that are already in the library: the same bytes, or near-duplicates.

    FOLDER may also be a file. Exit code 11 if at least one file is known, 0 if all are new.
    """
    import_driver_without_pandas()
    Query(min_score=min_score).check()
    opened = open_newest_home(load_settings({"home": home}))
    files = files_in(folders, opened.images)
    checked, unusable = _check(opened, files, min_score)
    note_state(opened)
    _report(checked, unusable)
    listed = [file for file in checked if (file.kind is None) == lists_new]
    output.emit(
        ["file", "score"] if lists_new else _COLUMNS,
        [file.as_json() for file in listed],
        document={**COSINE, "files": [file.as_json() for file in listed], "unusable": unusable},
        paths=[str(Path(file.file).absolute()) for file in listed],
    )
    if not checked:
        return EXIT_FAILED
    return EXIT_FOUND if any(file.kind is not None for file in checked) else 0


def _check(home: Home, files: Sequence[ImageFile], min_score: float | None) -> tuple[list[Checked], int]:
    """Return what each usable file is, and the number of unusable ones, which are reported."""
    checked: list[Checked] = []
    unusable = 0
    with open_database(home.settings) as database, progress_bar(len(files), shown=True) as step:
        for file in files:
            try:
                image = read_query(file, home.images, max_bytes=home.settings.max_bytes)
                checked.append(check_known(home, image, database=database, min_score=min_score))
            except ImageError as error:
                unusable += 1
                click.echo(f"imgret: {printable(str(error))}", err=True)
            step()
    return checked, unusable


def _report(checked: Sequence[Checked], unusable: int) -> None:
    kinds = Counter(file.kind for file in checked)
    new = kinds.pop(None, 0)
    found = ", ".join(f"{count:,} {kind}" for kind, count in sorted(kinds.items(), key=lambda item: str(item[0])))
    parts = [f"{kinds.total():,} of {len(checked):,} files are known{f' ({found})' if found else ''}", f"{new:,} new"]
    if unusable:
        parts.append(f"{unusable:,} could not be used")
    click.echo(f"imgret: {'; '.join(parts)}", err=True)
