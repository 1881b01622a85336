"""`imgret duplicates`: which files are copies of which, as the duplicates table says.

Belongs here: options and printing. Not here: finding copies (`domain.duplicates`). Imports neither dagster nor pandas.
"""

import json
from pathlib import Path
from typing import Any

import click

from imgret_assets.domain import tables
from imgret_assets.domain.duplicates import EXACT, KINDS, as_table, by_content, exact_copies, usable_pictures
from imgret_assets.domain.home import Home, open_home
from imgret_assets.settings import load_settings

EXIT_FOUND = 11
FORMATS = ("table", "tsv", "json")
_COLUMNS = ("path_from", "path_keep", "kind", "bytes", "reason")


@click.command()
@click.option("--kind", type=click.Choice(KINDS), help="Only these; exact groups files by their bytes alone.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@click.option("--fail-on-found", is_flag=True, help=f"Exit with {EXIT_FOUND} if there is a copy.")
@click.option("--home", type=click.Path(path_type=Path), help="Folder of tables, database and caches.")
def duplicates(kind: str | None, form: str, fail_on_found: bool, home: Path | None) -> int:
    """List files that are copies of another one, and the one to keep; nothing is removed."""
    rows = _rows(open_home(load_settings({"home": home})), kind)
    if form == "json":
        click.echo(json.dumps(rows, ensure_ascii=False))
    elif form == "tsv":
        click.echo("\t".join(_COLUMNS))
        for row in rows:
            click.echo("\t".join(_field(row[name]) for name in _COLUMNS))
    else:
        for row in rows:
            click.echo(f"{_field(row['path_from'])}\n  -> {_field(row['path_keep'])}  ({row['kind']}: {row['reason']})")
    freed = sum(row["bytes"] for row in rows)
    click.echo(f"imgret: {len(rows):,} copies; removing them would free {freed / 1e6:,.1f} MB", err=True)
    return EXIT_FOUND if fail_on_found and rows else 0


def _rows(home: Home, kind: str | None) -> list[dict[str, Any]]:
    path = tables.require(tables.duplicates_path(home.warehouse), "The duplicates table", "duplicates")
    rows = tables.read(path).to_pylist()
    if kind != EXACT:
        return [row for row in rows if kind in (None, row["kind"])]
    # Two files with the same bytes may both be near copies of a third, which is what the table says of them.
    found = exact_copies(by_content(usable_pictures(home, tables.read_metadata(path)["space"])))
    return as_table(sorted(found, key=lambda row: row.copy.path)).to_pylist()


def _field(value: object) -> str:
    """One cell; a path may hold a tab or a line break."""
    return str(value).replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
