"""`imgret doctor`: check the installation and the home.

Belongs here: the command and its table. Not here: the checks (`domain.operations.doctor`).
"""

import json
from dataclasses import asdict
from pathlib import Path

import click

from imgret_assets.cli.support.named_home import settings_of_home
from imgret_assets.domain.operations.doctor import diagnose
from imgret_assets.terminal import printable


@click.command()
@click.option("--home", type=click.Path(path_type=Path), help="Folder of tables, database and caches.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def doctor(home: Path | None, as_json: bool) -> int:
    """Check Python, packages, disk, images, tables, model, engine, Dagster, ports, Neo4j, backlog; exit 1 if one fails.

    Every line that begins with NO ends with its remedy. Nothing is started or changed.
    """
    settings = settings_of_home(home)
    # Here, because Dagster takes longer to load than `imgret --help` does.
    from imgret_assets.defs.instance.dagster_home import check_storage

    conditions = diagnose(settings, check_storage)
    if as_json:
        click.echo(json.dumps([asdict(condition) for condition in conditions]))
    else:
        for condition in conditions:
            click.echo(f"{'ok ' if condition.ok else 'NO '}  {condition.name:<9} {printable(condition.says)}")
    return 0 if all(condition.ok for condition in conditions) else 1
