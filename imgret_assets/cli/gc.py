"""`imgret gc`: remove files that nothing uses any more.

Belongs here: the command. Not here: which files these are (`domain.operations.cleanup`).
"""

from pathlib import Path

import click

from imgret_assets.domain.models.resolution import resolve
from imgret_assets.domain.operations.cleanup import remove_leftovers, spaces_with_tables
from imgret_assets.domain.storage.home import open_existing_home
from imgret_assets.errors import DiskFullError
from imgret_assets.settings import load_settings


@click.command()
@click.option("--other-models", is_flag=True, help="Also remove the tables of every model except the one in use.")
@click.option("--home", type=click.Path(path_type=Path), help="Folder of tables, database and caches.")
def gc(other_models: bool, home: Path | None) -> None:
    """Remove leftovers of killed runs and vectors that no table needs."""
    opened = open_existing_home(load_settings({"home": home}))
    keep = {resolve(opened).space.id} if other_models else None
    removed = remove_leftovers(opened, keep_spaces=keep)
    # Here: Dagster takes longer to load than `imgret --help` does.
    from imgret_assets.defs.checks import check_keys
    from imgret_assets.defs.instance.dagster_home import open_instance
    from imgret_assets.defs.instance.old_runs import remove_old_runs

    runs = 0
    try:
        with open_instance(opened.settings) as instance:
            runs = remove_old_runs(instance, opened.settings, check_keys())
    except DiskFullError as error:
        # What is on the disk for nothing has been removed; a second call has room for the rest.
        click.echo(f"imgret: {error}", err=True)
    remaining = ", ".join(sorted(spaces_with_tables(opened))) or "none"
    click.echo(
        f"Removed {removed.entries} leftovers with {removed.vectors:,} unused vectors, {removed.bytes / 1e6:.1f} MB, "
        f"and {runs:,} old runs of Dagster. Spaces with tables: {remaining}."
    )
