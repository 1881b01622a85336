"""`imgret duplicates`: which files are copies of which, as the duplicates table says.

Belongs here: options and printing. Not here: finding copies (`domain.duplicates.duplicates_table`), deciding about
them (`cli.review`). Imports neither dagster nor pandas.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from imgret_assets.cli.support.output import COSINE, Output, absolute_paths, exit_code, fail_on_found, output_options
from imgret_assets.domain.duplicates.duplicate_search import EXACT, KINDS, find_exact_duplicates
from imgret_assets.domain.duplicates.duplicates_table import as_table, require_duplicates
from imgret_assets.domain.duplicates.usable_images import load_usable_images, rank_contents
from imgret_assets.domain.review.decision_log import read_decisions
from imgret_assets.domain.review.decisions import File
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.settings import load_settings

_COLUMNS = ("path_from", "path_keep", "kind", "distance", "cosine", "bytes", "decision", "reason")


@click.command()
@click.option("--kind", type=click.Choice(KINDS), help="Only these; exact groups files by their bytes alone.")
@click.option("--undecided", is_flag=True, help="Only pairs that nobody has decided about (`imgret review`).")
@output_options
@fail_on_found
@click.option("--home", type=click.Path(path_type=Path), help="Folder of tables, database and caches.")
def duplicates(kind: str | None, undecided: bool, output: Output, fail_on_found: bool, home: Path | None) -> int:
    """List files that are copies of another one, and the one to keep; nothing is removed.

    As paths, only the copies are listed.
    """
    opened = open_home(load_settings({"home": home}))
    rows = [row for row in _rows(opened, kind) if not (undecided and row["decision"])]
    output.emit(
        _COLUMNS,
        rows,
        document={**COSINE, "duplicates": rows},
        lines=[{**COSINE, **row} for row in rows],
        paths=absolute_paths(opened.images, (row["path_from"] for row in rows)),
    )
    freed = sum(row["bytes"] for row in rows)
    copies = "1 copy; removing it" if len(rows) == 1 else f"{len(rows):,} copies; removing them"
    click.echo(f"imgret: {copies} would free {freed / 1e6:,.1f} MB", err=True)
    return exit_code(any_result=bool(rows), fail_on_found=fail_on_found)


def _rows(home: Home, kind: str | None) -> list[dict[str, Any]]:
    space = require_duplicates(home).space
    rows = tables.read(tables.duplicates_path(home.warehouse)).to_pylist()
    decisions = read_decisions(home)
    if kind != EXACT and not decisions.events:
        return [{**row, "decision": None} for row in rows if kind in (None, row["kind"])]
    pictures = load_usable_images(home, space)
    if kind == EXACT:
        # Two files with the same bytes may both be near copies of a third, which is what the table says of them.
        found = find_exact_duplicates(rank_contents(pictures))
        rows = as_table(sorted(found, key=lambda row: row.image.path)).to_pylist()
    contents = {one.path: one.sha256 for one in pictures}
    chosen = (row for row in rows if kind in (None, row["kind"]))
    return [{**row, "decision": _decision(decisions.decision_for, contents, row)} for row in chosen]


def _decision(between: Any, contents: Mapping[str, str], row: Mapping[str, Any]) -> str | None:
    files = [File(row[side], contents.get(row[side], "")) for side in ("path_from", "path_keep")]
    found = between(*files)
    return None if found is None else found.verdict
