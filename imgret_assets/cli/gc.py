"""`imgret gc`: remove what nothing uses any more.

Belongs here: the command. Not here: what may go (`domain.operations.cleanup`).
"""

from pathlib import Path

import click

from imgret_assets.domain.models.resolution import resolve
from imgret_assets.domain.operations.cleanup import collect, spaces_with_tables
from imgret_assets.domain.storage.home import open_home
from imgret_assets.settings import load_settings


@click.command()
@click.option("--other-models", is_flag=True, help="Also the tables of every model but the one in use.")
@click.option("--home", type=click.Path(path_type=Path), help="Folder of tables, database and caches.")
def gc(other_models: bool, home: Path | None) -> None:
    """Remove leftovers of killed runs and vectors that no table needs."""
    opened = open_home(load_settings({"home": home}))
    keep = {resolve(opened).space.id} if other_models else None
    collected = collect(opened, keep_spaces=keep)
    left = ", ".join(sorted(spaces_with_tables(opened))) or "none"
    click.echo(
        f"Removed {collected.removed} leftovers with {collected.vectors:,} unused vectors, "
        f"{collected.bytes / 1e6:.1f} MB. "
        f"Spaces with tables: {left}."
    )
