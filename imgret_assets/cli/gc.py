"""`imgret gc`: remove files that nothing uses any more.

Belongs here: the command. Not here: which files these are (`domain.operations.cleanup`).
"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from imgret_assets.domain.models.resolution import resolve
from imgret_assets.domain.operations.cleanup import remove_leftovers, spaces_with_tables
from imgret_assets.domain.storage.home import open_existing_home
from imgret_assets.errors import DiskFullError
from imgret_assets.settings import Settings, load_settings

if TYPE_CHECKING:
    from imgret_assets.domain.storage.object_store.removal import RemovedObjects


@click.command()
@click.option("--other-models", is_flag=True, help="Also remove the tables of every model except the one in use.")
@click.option("--home", type=click.Path(path_type=Path), help="Folder of tables, database and caches.")
def gc(other_models: bool, home: Path | None) -> None:
    """Remove leftovers of killed runs and vectors that no table needs.

    With IMGRET_STORE, also old generations of the tables in the store.
    """
    opened = open_existing_home(load_settings({"home": home}))
    removed_objects = _remove_unused_objects(opened.settings)
    if removed_objects is not None:
        # Its tables may be newer now.
        opened = open_existing_home(opened.settings)
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
    if removed_objects is not None:
        click.echo(
            f"Removed {removed_objects.generations:,} old generations and {removed_objects.objects:,} unused objects, "
            f"{removed_objects.bytes / 1e6:.1f} MB, from {opened.settings.store}."
        )
    remaining = ", ".join(sorted(spaces_with_tables(opened))) or "none"
    click.echo(
        f"Removed {removed.entries} leftovers with {removed.vectors:,} unused vectors, {removed.bytes / 1e6:.1f} MB, "
        f"and {runs:,} old runs of Dagster. Spaces with tables: {remaining}."
    )


def _remove_unused_objects(settings: Settings) -> "RemovedObjects | None":
    """Remove what nobody needs from the home's store; None where it has none."""
    if settings.store is None:
        return None
    from imgret_assets.domain.operations.table_store import store_session

    with store_session(settings, "removing unused objects") as session:
        return None if session is None else session.remove_unused()
