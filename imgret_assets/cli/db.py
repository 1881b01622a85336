"""`imgret db`: the graph database of a home.

Belongs here: the commands, what they print, the terminal of the Cypher shell. Not here: the server's life
(`domain.neo4j_server.lifecycle`), Cypher text and values (`cli.support.cypher_text`). The driver is imported when used.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

import click

from imgret_assets.cli.db_shell import Shell, _failures
from imgret_assets.domain.neo4j_server import lifecycle, run_file
from imgret_assets.errors import DatabaseError, SettingError
from imgret_assets.settings import Settings, load_settings

if TYPE_CHECKING:
    from neo4j import Driver


RELATIONS = "MATCH (n1:Image)-[r:SIMILAR_TO]->(n2:Image) RETURN n1, r, n2 LIMIT 300"


def home_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The `--home` option that every command here has."""
    return click.option(
        "--home", type=click.Path(file_okay=False), help="Folder of the database; default IMGRET_HOME, else data/."
    )(command)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def db() -> None:
    """Start, stop, look at and ask the graph database."""


@db.command()
@home_option
def start(home: str | None) -> None:
    """Start the embedded Neo4j, unless it runs already."""
    settings = _settings(home)
    given = lifecycle.given_server(settings)
    if given:
        click.echo(f"NEO4J_URI names {given.uri}: imgret starts no server of its own.")
        return
    found = lifecycle.ensure_running(settings, progress=_tell)
    click.echo(f"Neo4j {found.version} answers at {found.uri}. Next: imgret db browse, imgret db shell")


@db.command()
@home_option
def stop(home: str | None) -> None:
    """Stop the embedded Neo4j; it starts again when it is needed."""
    settings = _settings(home)
    given = lifecycle.given_server(settings)
    if given:
        click.echo(f"NEO4J_URI names {given.uri}: imgret does not stop a server that is not its own.")
        return
    click.echo("Neo4j has stopped." if lifecycle.stop(settings) else "Neo4j was not running.")


@db.command()
@home_option
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.option("--show-password", is_flag=True, help="Tell the password too.")
def status(home: str | None, as_json: bool, show_password: bool) -> None:
    """Say whether the database runs, and how to reach it."""
    settings = _settings(home)
    found, report = _report(settings)
    if show_password:
        report["password"] = found.password if found else None
    if as_json:
        click.echo(json.dumps(report))
        return
    if not report["running"]:
        click.echo(f"Neo4j does not run{f' at {found.uri}' if found else ''}. Home: {settings.home}")
        return
    click.echo(f"Neo4j {report['version']}, Graph Data Science {report['gds'] or 'missing'}, runs at {report['uri']}")
    click.echo(f"user {report['username']}, home {settings.home}")
    if found and found.http_port:
        click.echo(f"process {found.pid}, Neo4j Browser http://{lifecycle.LOCALHOST}:{found.http_port}/browser/")
    if show_password:
        click.echo(f"password {report['password']}")


@db.command()
@home_option
@click.option("--no-open", is_flag=True, help="Only print the address.")
def browse(home: str | None, no_open: bool) -> None:
    """Open the Neo4j Browser with the similarity graph's query in its editor."""
    import webbrowser

    settings = _settings(home)
    found = lifecycle.connection(settings, progress=_tell)
    url = lifecycle.browser_url(found, RELATIONS)
    click.echo(url)
    click.echo(f"Log in as {found.username}; the password: imgret db status --show-password{_flag(home)}")
    click.echo("Then run the query that stands in the editor.")
    if not no_open and not webbrowser.open(url):
        click.echo("No web browser was found here: open the address yourself.", err=True)


@db.command()
@home_option
@click.option("--file", "-f", "script", type=click.File(encoding="utf-8"), help="Run this file's statements.")
def shell(home: str | None, script: IO[str] | None) -> None:
    """Run Cypher, from a file, from stdin or typed in; `:help` lists the commands.

    Statements end with `;`. A failing one stops a script with exit code 1.
    """
    settings = _settings(home)
    with _driver(lifecycle.connection(settings, progress=_tell)) as driver:
        session = Shell(settings, driver)
        if script is None and sys.stdin.isatty():
            session.converse()
        else:
            session.run_script((script or sys.stdin).read())


@db.command()
@home_option
@click.option("--wipe", is_flag=True, help="Delete every :Image node there; without it nothing is done.")
def adopt(home: str | None, wipe: bool) -> None:
    """Make a database that holds other :Image nodes this home's own, by deleting them."""
    from imgret_assets.domain.graph.connection import open_database
    from imgret_assets.domain.graph.graph_state import adopt as take_over

    settings = _settings(home)
    if not wipe:
        raise SettingError(
            "adopt deletes every :Image node and their relationships",
            remedy="say so with `imgret db adopt --wipe`, or use another database",
        )
    with open_database(settings, progress=_tell) as database:
        deleted = take_over(database)
    click.echo(f"Deleted {deleted:,} :Image nodes. Next: imgret run")


def _settings(home: str | None) -> Settings:
    settings = load_settings({"home": home})
    for warning in settings.warnings:
        click.echo(f"warning: {warning}", err=True)
    return settings


def _tell(message: str) -> None:
    click.echo(message, err=True)


def _flag(home: str | None) -> str:
    return f" --home {home}" if home else ""


def _report(settings: Settings) -> tuple[run_file.Connection | None, dict[str, Any]]:
    """The connection, if there is one to speak of, and what `status --json` says."""
    given = lifecycle.given_server(settings)
    if given:
        version, gds = _ask_versions(given)
        return given, _as_report(settings, given, running=version is not None, version=version, gds=gds)
    found = lifecycle.status(settings)
    version, gds = lifecycle.versions(settings) if found else (None, None)
    return found, _as_report(settings, found, running=found is not None, version=version, gds=gds)


def _as_report(
    settings: Settings, found: run_file.Connection | None, *, running: bool, version: str | None, gds: str | None
) -> dict[str, Any]:
    return {
        "running": running,
        "uri": found.uri if found else None,
        "username": found.username if found else run_file.USERNAME,
        "version": version,
        "gds": gds,
        "home": str(settings.home),
    }


def _ask_versions(found: run_file.Connection) -> tuple[str | None, str | None]:
    """Of the server and its Graph Data Science library; None for what is not there."""
    from neo4j.exceptions import ClientError, ServiceUnavailable

    try:
        with _driver(found) as driver:
            version = driver.get_server_info().agent.removeprefix("Neo4j/")
            try:
                return version, driver.execute_query("RETURN gds.version() AS version").records[0]["version"]
            except ClientError:
                return version, None
    except DatabaseError as error:
        if isinstance(error.__cause__, ServiceUnavailable):
            return None, None
        raise


@contextmanager
def _driver(found: run_file.Connection) -> Iterator["Driver"]:
    import logging

    from neo4j import GraphDatabase

    # The shell prints the server's notes itself; those about deprecation would come with each of the article's queries.
    logging.getLogger("neo4j.notifications").setLevel(logging.ERROR)
    with (
        _failures(),
        GraphDatabase.driver(
            found.uri,
            auth=(found.username, found.password),
            notifications_disabled_classifications=["DEPRECATION"],
        ) as driver,
    ):
        yield driver
