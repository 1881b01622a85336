"""`imgret reshard N`: change the number of partitions.

Belongs here: the command. Not here: rewriting tables (`domain.operations.reshard`).
"""

from dataclasses import replace
from pathlib import Path

import click

from imgret_assets.domain.operations.reshard import reshard as rewrite
from imgret_assets.domain.operations.table_store import store_session
from imgret_assets.domain.storage.home import Home, open_existing_home
from imgret_assets.domain.storage.home_record import read_record
from imgret_assets.settings import load_settings


@click.command()
@click.argument("shards", type=int)
@click.option("--home", type=click.Path(path_type=Path), help="Folder of tables, database and caches.")
def reshard(shards: int, home: Path | None) -> None:
    """Rewrite the tables into SHARDS partitions (1 to 1024) without embedding anything."""
    settings = load_settings({"home": home})
    record = read_record(settings.home)
    opened = open_existing_home(settings) if record is None else Home(settings, record)

    def report(line: str) -> None:
        click.echo(f"imgret: {line}", err=True)

    # A number that is set is that before or that after: neither may keep the home from being opened.
    any_number = replace(settings, shards=None)
    with store_session(any_number, "resharding") as session:
        if session is not None:
            # Its tables may be newer now.
            opened = open_existing_home(any_number)
        changed = rewrite(opened, shards, progress=report)
        if session is not None:
            report(session.publish().summary)
    click.echo(
        f"{settings.home} has {changed.shards} shards. Set IMGRET_SHARDS to that number or remove it, reload the code "
        "location in Dagster, and run `imgret run`, which updates the nodes."
    )
