"""`imgret db`: the graph database of a home.

Belongs here: the commands, what they print, the terminal of the Cypher shell. Not here: the server's life
(`domain.server`), Cypher text and values (`domain.cypher_shell`). The driver is imported when used.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from imgret_assets.domain import cypher_shell, server
from imgret_assets.domain.cypher_shell import Command
from imgret_assets.errors import DatabaseError, ImageError, ImgretError, SettingError
from imgret_assets.settings import Settings, load_settings

if TYPE_CHECKING:
    from neo4j import Driver

RELATIONS = "MATCH (n1:Image)-[r:SIMILAR_TO]->(n2:Image) RETURN n1, r, n2 LIMIT 300"
PROMPT, CONTINUED = "imgret> ", "   ...> "


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
    given = server.given_server(settings)
    if given:
        click.echo(f"NEO4J_URI names {given.uri}: imgret starts no server of its own.")
        return
    found = server.ensure_running(settings, progress=_tell)
    click.echo(f"Neo4j {found.version} answers at {found.uri}. Next: imgret db browse, imgret db shell")


@db.command()
@home_option
def stop(home: str | None) -> None:
    """Stop the embedded Neo4j; it starts again when it is needed."""
    settings = _settings(home)
    given = server.given_server(settings)
    if given:
        click.echo(f"NEO4J_URI names {given.uri}: imgret does not stop a server that is not its own.")
        return
    click.echo("Neo4j has stopped." if server.stop(settings) else "Neo4j was not running.")


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
        click.echo(f"process {found.pid}, Neo4j Browser http://{server.LOCALHOST}:{found.http_port}/browser/")
    if show_password:
        click.echo(f"password {report['password']}")


@db.command()
@home_option
@click.option("--no-open", is_flag=True, help="Only print the address.")
def browse(home: str | None, no_open: bool) -> None:
    """Open the Neo4j Browser with the similarity graph's query in its editor."""
    import webbrowser

    settings = _settings(home)
    found = server.connection(settings, progress=_tell)
    url = server.browser_url(found, RELATIONS)
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
    with _driver(server.connection(settings, progress=_tell)) as driver:
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
    from imgret_assets.domain.database import open_database
    from imgret_assets.domain.graph import adopt as take_over

    settings = _settings(home)
    if not wipe:
        raise SettingError(
            "adopt deletes every :Image node and their relationships",
            remedy="say so with `imgret db adopt --wipe`, or use another database",
        )
    with open_database(settings, progress=_tell) as database:
        deleted = take_over(database)
    click.echo(f"Deleted {deleted:,} :Image nodes. Next: imgret run")


class Shell:
    """Statements, parameters and `:` commands on one connection."""

    def __init__(self, settings: Settings, driver: "Driver") -> None:
        self.settings = settings
        self.driver = driver
        self.parameters: dict[str, Any] = {}
        self.done = False
        self.commands: Mapping[str, Callable[[Command], None]] = {
            "param": self._param,
            "embed": self._embed,
            "params": self._params,
            "help": lambda _: click.echo(cypher_shell.HELP),
            "exit": self._exit,
            "quit": self._exit,
        }

    def run_script(self, text: str) -> None:
        """Run everything in order, to the end, `:exit` or the first failure.

        Raises:
            ImgretError: a statement or command failed.
        """
        parts, rest = cypher_shell.split(text)
        for part in [*parts, *([rest] if rest else [])]:
            if self.done:
                return
            self.run(part)

    def converse(self) -> None:
        """Read from the terminal until `:exit` or end of file; failures are shown and forgotten."""
        with suppress(ImportError):  # some builds of Python have none
            import readline  # noqa: F401 - gives input() line editing and history
        click.echo(f"{cypher_shell.HELP}\n")
        rest = ""
        while not self.done:
            try:
                line = input(CONTINUED if rest else PROMPT)
                parts, rest = cypher_shell.split(f"{rest}\n{line}\n" if rest else f"{line}\n")
                for part in parts:
                    self.run(part)
            except EOFError:
                click.echo()
                return
            except KeyboardInterrupt:
                click.echo()
                rest = ""
            except ImgretError as error:
                click.echo(str(error), err=True)

    def run(self, part: str | Command) -> None:
        """Run one statement or command and print what it gives.

        Raises:
            ImgretError: it failed; has the server's own message.
        """
        if isinstance(part, str):
            self._statement(part)
        elif part.name in self.commands:
            self.commands[part.name](part)
        else:
            raise DatabaseError(
                f"There is no command :{part.name}", expected=", ".join(f":{name}" for name in self.commands)
            )

    def _statement(self, statement: str) -> None:
        begun = time.perf_counter()
        with _failures(), self.driver.session(database=self.settings.neo4j.database) as session:
            result = session.run(statement, self.parameters)  # pyright: ignore[reportArgumentType]
            columns, rows = result.keys(), [record.values() for record in result]
            summary = result.consume()
        if columns:
            click.echo(cypher_shell.table(columns, rows))
        for note in summary.gql_status_objects:
            if note.is_notification:
                click.echo(note.status_description, err=True)
        took_ms = (time.perf_counter() - begun) * 1000
        click.echo(cypher_shell.summary(len(rows), summary.counters, took_ms))

    def _param(self, command: Command) -> None:
        name, value = _two_words(command, ":param NAME VALUE")
        try:
            self.parameters[name] = json.loads(value)
        except ValueError:
            with _failures(), self.driver.session(database=self.settings.neo4j.database) as session:
                record = session.run(f"RETURN {value} AS value", self.parameters).single()  # pyright: ignore[reportArgumentType]
            self.parameters[name] = record["value"] if record else None
        self._show_parameter(name)

    def _embed(self, command: Command) -> None:
        from imgret_assets.domain.search import embed_query

        name, image = _two_words(command, ":embed NAME IMAGE")
        path = Path(image.strip("'\"")).expanduser()
        if not path.is_file():
            raise ImageError(f"{path} is not a file", remedy="give the path of a picture, from the folder you are in")
        self.parameters[name] = embed_query(self.settings, path).tolist()
        self._show_parameter(name)

    def _params(self, _: Command) -> None:
        for name in sorted(self.parameters):
            self._show_parameter(name)

    def _show_parameter(self, name: str) -> None:
        click.echo(f"${name} = {cypher_shell.show(self.parameters[name], nested=True)}")

    def _exit(self, _: Command) -> None:
        self.done = True


def _two_words(command: Command, form: str) -> tuple[str, str]:
    found = command.name_and_value()
    if found is None:
        raise SettingError(f":{command.name} {command.rest}".rstrip(), expected=form)
    return found


def _settings(home: str | None) -> Settings:
    settings = load_settings({"home": home})
    for warning in settings.warnings:
        click.echo(f"warning: {warning}", err=True)
    return settings


def _tell(message: str) -> None:
    click.echo(message, err=True)


def _flag(home: str | None) -> str:
    return f" --home {home}" if home else ""


def _report(settings: Settings) -> tuple[server.Connection | None, dict[str, Any]]:
    """The connection, if there is one to speak of, and what `status --json` says."""
    given = server.given_server(settings)
    if given:
        version, gds = _ask_versions(given)
        return given, _as_report(settings, given, running=version is not None, version=version, gds=gds)
    found = server.status(settings)
    version, gds = server.versions(settings) if found else (None, None)
    return found, _as_report(settings, found, running=found is not None, version=version, gds=gds)


def _as_report(
    settings: Settings, found: server.Connection | None, *, running: bool, version: str | None, gds: str | None
) -> dict[str, Any]:
    return {
        "running": running,
        "uri": found.uri if found else None,
        "username": found.username if found else server.USERNAME,
        "version": version,
        "gds": gds,
        "home": str(settings.home),
    }


def _ask_versions(found: server.Connection) -> tuple[str | None, str | None]:
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
def _driver(found: server.Connection) -> Iterator["Driver"]:
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


@contextmanager
def _failures() -> Iterator[None]:
    """The server's and the driver's exceptions, as ours with the same message."""
    from neo4j.exceptions import DriverError, Neo4jError

    try:
        yield
    except Neo4jError as error:
        raise DatabaseError(f"Neo4j says: {error.message} [{error.code}]") from error
    except DriverError as error:
        raise DatabaseError(f"Neo4j can't be asked: {error}", remedy="look at imgret db status") from error
