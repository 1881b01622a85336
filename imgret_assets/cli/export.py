"""`imgret export`: export the graph to files for other programs.

Belongs here: the command. Not here: the files (`domain.operations.export`).
"""

from pathlib import Path

import click

from imgret_assets.cli.support.served_home import open_served_home
from imgret_assets.domain.models.resolution import space_in_use
from imgret_assets.domain.operations.export import FORMATS, export_graph
from imgret_assets.domain.operations.import_files import NEO4J_ADMIN, export_for_import, import_command
from imgret_assets.domain.storage import permissions
from imgret_assets.errors import SettingError
from imgret_assets.settings import load_settings
from imgret_assets.wording import counted


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--format", "form", type=click.Choice((*FORMATS, NEO4J_ADMIN)), default=FORMATS[0], show_default=True)
@click.option("--vectors", is_flag=True, help="Include the embedding of each node; parquet only.")
@click.option("--home", type=click.Path(path_type=Path), help="Folder of tables, database and caches.")
def export(folder: Path, form: str, vectors: bool, home: Path | None) -> None:
    """Write nodes and relationships to FOLDER, as two tables or one GraphML file, and print the files.

    Everything comes from the tables of the last run, so no database is needed. Files of the same names are replaced.

    The format neo4j-admin is for the first load of a large graph: files that `neo4j-admin database import full` reads,
    or `imgret db import` where the database is imgret's own. They have the vectors unless IMGRET_GRAPH_VECTORS is no.
    """
    opened = open_served_home(load_settings({"home": home}))
    if vectors and form == NEO4J_ADMIN:
        raise SettingError(
            f"--vectors with --format {NEO4J_ADMIN}: its files have the vectors that the graph has",
            remedy="leave --vectors out, and set IMGRET_GRAPH_VECTORS to yes or no",
        )
    with permissions.users_umask():
        if form == NEO4J_ADMIN:
            exported = export_for_import(opened, space_in_use(opened), folder)
        else:
            exported = export_graph(opened, space_in_use(opened), folder, form, vectors=vectors)
    for file in exported.files:
        click.echo(file)
    for note in exported.notes:
        click.echo(f"imgret: {note}", err=True)
    relationships = ", ".join(f"{count:,} {kind}" for kind, count in exported.relationships.items())
    click.echo(f"imgret: {counted(exported.nodes, 'node')}, {relationships}", err=True)
    if form == NEO4J_ADMIN:
        click.echo(f"imgret: next, {import_command(opened, folder)}, then imgret run", err=True)
