"""`imgret db`: the graph database of a home.

Belongs here: the commands and their output. Not here: the Cypher prompt (`cli.db_shell`), starting and stopping the
server (`domain.neo4j_server.lifecycle`), what is asked of it (`domain.graph.connection`).
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import click

from imgret_assets.cli.db_shell import Shell, open_driver
from imgret_assets.cli.support.named_home import settings_of_home
from imgret_assets.domain.graph.connection import server_versions, similarity_graph_url
from imgret_assets.domain.neo4j_server import lifecycle, run_file
from imgret_assets.domain.neo4j_server.host import LOCALHOST
from imgret_assets.errors import SettingError
from imgret_assets.settings import Settings


def home_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the `--home` option, which every command here has."""
    return click.option(
        "--home", type=click.Path(file_okay=False), help="Folder of the database; default IMGRET_HOME, else data/."
    )(command)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def db() -> None:
    """Start, stop, inspect and query the graph database."""


@db.command()
@home_option
def start(home: str | None) -> None:
    """Start the embedded Neo4j unless it is running."""
    settings = _load_settings(home)
    external = lifecycle.external_server(settings)
    if external:
        click.echo(f"NEO4J_URI names {external.uri}: imgret starts no server of its own.")
        return
    server = lifecycle.ensure_running(settings, log=_log)
    click.echo(f"Neo4j {server.version} is running at {server.uri}. Next: imgret db browse, imgret db shell")


@db.command()
@home_option
def stop(home: str | None) -> None:
    """Stop the embedded Neo4j; it starts again when it is needed."""
    settings = _load_settings(home)
    external = lifecycle.external_server(settings)
    if external:
        click.echo(f"NEO4J_URI names {external.uri}: imgret does not stop a server that it did not start.")
        return
    click.echo("Neo4j has stopped." if lifecycle.stop(settings) else "Neo4j was not running.")


@db.command()
@home_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--show-password", is_flag=True, help="Print the password, too.")
def status(home: str | None, as_json: bool, show_password: bool) -> None:
    """Show whether the database is running and how to connect to it."""
    settings = _load_settings(home)
    server, report = _report(settings)
    if show_password:
        report["password"] = server.password if server else None
    if as_json:
        click.echo(json.dumps(report))
        return
    if not report["running"]:
        click.echo(f"Neo4j is not running{f' at {server.uri}' if server else ''}. Home: {settings.home}")
        return
    click.echo(f"Neo4j {report['version']}, Graph Data Science {report['gds'] or 'missing'}, runs at {report['uri']}")
    click.echo(f"user {report['username']}, home {settings.home}")
    if server and server.http_port:
        click.echo(f"process {server.pid}, Neo4j Browser http://{LOCALHOST}:{server.http_port}/browser/")
    if show_password:
        click.echo(f"password {report['password']}")


@db.command()
@home_option
@click.option("--no-open", is_flag=True, help="Only print the address.")
def browse(home: str | None, no_open: bool) -> None:
    """Open the Neo4j Browser with the query that shows the similarity graph."""
    import webbrowser

    settings = _load_settings(home)
    server = lifecycle.connection(settings, log=_log)
    url = similarity_graph_url(server)
    click.echo(url)
    click.echo(f"Log in as {server.username}; the password: imgret db status --show-password{_home_flag(home)}")
    click.echo("Then run the query in the editor.")
    if not no_open and not webbrowser.open(url):
        click.echo("No web browser was found: open the address yourself.", err=True)


@db.command()
@home_option
@click.option("--file", "-f", "script", type=click.File(encoding="utf-8"), help="Run the statements of this file.")
def shell(home: str | None, script: IO[str] | None) -> None:
    """Run Cypher statements from a file, from stdin or from the terminal; `:help` lists the commands.

    Statements end with `;`. A script ends at the first statement that fails, with exit code 1.
    """
    settings = _load_settings(home)
    with open_driver(lifecycle.connection(settings, log=_log)) as driver:
        session = Shell(settings, driver)
        if script is None and sys.stdin.isatty():
            session.converse()
        else:
            session.run_script((script or sys.stdin).read())


@db.command()
@home_option
@click.option("--wipe", is_flag=True, help="Confirm that every :Image node there is deleted.")
def adopt(home: str | None, wipe: bool) -> None:
    """Claim a database that holds other :Image nodes for this home, by deleting them."""
    from imgret_assets.domain.graph import graph_state
    from imgret_assets.domain.graph.connection import open_database

    settings = _load_settings(home)
    if not wipe:
        raise SettingError(
            "adopt deletes every :Image node and their relationships",
            remedy="confirm with `imgret db adopt --wipe`, or use another database",
        )
    with open_database(settings, progress=_log) as database:
        deleted = graph_state.adopt(database)
    click.echo(f"Deleted {deleted:,} :Image nodes. Next: imgret run")


@db.command("import")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@home_option
@click.option("--replace", is_flag=True, help="Delete the database that is there.")
def import_(folder: Path, home: str | None, replace: bool) -> None:
    """Fill the embedded Neo4j with the files that `imgret export FOLDER --format neo4j-admin` has written.

    It is stopped for that. `imgret run` makes the indexes afterwards, and writes what has changed since the export.
    """
    from imgret_assets.domain.neo4j_server.offline_import import import_files
    from imgret_assets.domain.operations.import_files import ARGUMENTS

    settings = _load_settings(home)
    external = lifecycle.external_server(settings)
    if external:
        raise SettingError(
            f"NEO4J_URI names {external.uri}: imgret does not stop a server that it did not start",
            remedy=f"on that server's machine, in the folder: neo4j-admin database import full @{ARGUMENTS} DATABASE",
        )
    import_files(settings, folder, ARGUMENTS, replace=replace, log=_log)
    click.echo("The graph is imported. Next: imgret run")


def _load_settings(home: str | None) -> Settings:
    settings = settings_of_home(home)
    for warning in settings.warnings:
        click.echo(f"warning: {warning}", err=True)
    return settings


def _log(message: str) -> None:
    click.echo(message, err=True)


def _home_flag(home: str | None) -> str:
    return f" --home {home}" if home else ""


def _report(settings: Settings) -> tuple[run_file.Connection | None, dict[str, Any]]:
    """Return the server's address, if it has one, and the document of `status --json`."""
    external = lifecycle.external_server(settings)
    if external:
        version, gds = server_versions(external)
        return external, _as_report(settings, external, running=version is not None, version=version, gds=gds)
    server = lifecycle.status(settings)
    version, gds = lifecycle.versions(settings) if server else (None, None)
    return server, _as_report(settings, server, running=server is not None, version=version, gds=gds)


def _as_report(
    settings: Settings, server: run_file.Connection | None, *, running: bool, version: str | None, gds: str | None
) -> dict[str, Any]:
    return {
        "running": running,
        "uri": server.uri if server else None,
        "username": server.username if server else run_file.USERNAME,
        "version": version,
        "gds": gds,
        "home": str(settings.home),
    }
