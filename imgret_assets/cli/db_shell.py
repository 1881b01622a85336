"""The Cypher prompt of `imgret db shell`.

Belongs here: the connection of the prompt, reading statements and showing rows. Not here: the commands (`cli.db`),
what Cypher text and values look like (`cli.support.cypher_text`), the statements that imgret itself sends
(`domain.graph.cypher`). The driver is imported when it is used.
"""

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imgret_assets.cli.support import cypher_text
from imgret_assets.cli.support.cypher_text import Command
from imgret_assets.domain.neo4j_server import drivers
from imgret_assets.domain.neo4j_server.run_file import Connection
from imgret_assets.errors import DatabaseError, ImageError, ImgretError, SettingError
from imgret_assets.settings import Settings
from imgret_assets.terminal import message_of

if TYPE_CHECKING:
    from neo4j import Driver

PROMPT, CONTINUED = "imgret> ", "   ...> "


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
            "help": lambda _: click.echo(cypher_text.HELP),
            "exit": self._exit,
            "quit": self._exit,
        }

    def run_script(self, text: str) -> None:
        """Run statements and commands in order, until the end, `:exit` or the first failure.

        Raises:
            ImgretError: a statement or command failed.
        """
        parts, rest = cypher_text.split(text)
        for part in [*parts, *([rest] if rest else [])]:
            if self.done:
                return
            self.run(part)

    def converse(self) -> None:
        """Read from the terminal until `:exit` or end of file; show failures and go on."""
        with suppress(ImportError):  # some builds of Python lack it
            import readline  # noqa: F401 - gives input() line editing and history
        click.echo(f"{cypher_text.HELP}\n")
        rest = ""
        while not self.done:
            try:
                line = input(CONTINUED if rest else PROMPT)
                parts, rest = cypher_text.split(f"{rest}\n{line}\n" if rest else f"{line}\n")
                for part in parts:
                    self.run(part)
            except EOFError:
                click.echo()
                return
            except KeyboardInterrupt:
                click.echo()
                rest = ""
            except ImgretError as error:
                click.echo(message_of(error), err=True)

    def run(self, part: str | Command) -> None:
        """Run one statement or command and print its result.

        Raises:
            ImgretError: it failed; has the server's own message.
        """
        if isinstance(part, str):
            self._statement(part)
        elif part.name in self.commands:
            self.commands[part.name](part)
        else:
            raise DatabaseError(
                f":{part.name} is not a command", expected=", ".join(f":{name}" for name in self.commands)
            )

    def _statement(self, statement: str) -> None:
        started = time.perf_counter()
        with _named_errors(), self.driver.session(database=self.settings.neo4j.database) as session:
            result = session.run(statement, self.parameters)  # pyright: ignore[reportArgumentType]
            columns, rows = result.keys(), [record.values() for record in result]
            summary = result.consume()
        if columns:
            click.echo(cypher_text.table(columns, rows))
        for note in summary.gql_status_objects:
            if note.is_notification:
                click.echo(note.status_description, err=True)
        took_ms = (time.perf_counter() - started) * 1000
        click.echo(cypher_text.summary(len(rows), summary.counters, took_ms))

    def _param(self, command: Command) -> None:
        name, value = _two_words(command, ":param NAME VALUE")
        try:
            self.parameters[name] = json.loads(value)
        except ValueError:
            with _named_errors(), self.driver.session(database=self.settings.neo4j.database) as session:
                record = session.run(cypher_text.evaluation(value), self.parameters).single()  # pyright: ignore[reportArgumentType]
            self.parameters[name] = record["value"] if record else None
        self._show_parameter(name)

    def _embed(self, command: Command) -> None:
        from imgret_assets.domain.search.query_embedding import embed_query

        name, image = _two_words(command, ":embed NAME IMAGE")
        path = Path(image.strip("'\"")).expanduser()
        if not path.is_file():
            raise ImageError(f"{path} is not a file", remedy="give the path of an image file")
        self.parameters[name] = embed_query(self.settings, path).tolist()
        self._show_parameter(name)

    def _params(self, _: Command) -> None:
        for name in sorted(self.parameters):
            self._show_parameter(name)

    def _show_parameter(self, name: str) -> None:
        click.echo(f"${name} = {cypher_text.show(self.parameters[name], nested=True)}")

    def _exit(self, _: Command) -> None:
        self.done = True


def _two_words(command: Command, form: str) -> tuple[str, str]:
    words = command.name_and_value()
    if words is None:
        raise SettingError(f":{command.name} {command.rest}".rstrip(), expected=form)
    return words


@contextmanager
def open_driver(server: Connection) -> Iterator["Driver"]:
    """Open a driver for statements that a user types.

    Raises:
        DatabaseError: the server can't be reached or refuses the login.
    """
    # The shell prints the server's notifications itself. Each of the article's queries has one about deprecation.
    logging.getLogger("neo4j.notifications").setLevel(logging.ERROR)
    with (
        _named_errors(),
        drivers.open_driver(server, notifications_disabled_classifications=["DEPRECATION"]) as driver,
    ):
        yield driver


@contextmanager
def _named_errors() -> Iterator[None]:
    """Turn exceptions of the server and the driver into named errors with the same message."""
    from neo4j.exceptions import DriverError, Neo4jError

    try:
        yield
    except Neo4jError as error:
        raise DatabaseError(f"Neo4j refused the statement: {error.message} [{error.code}]") from error
    except DriverError as error:
        raise DatabaseError(f"Neo4j can't be reached: {error}", remedy="check it with `imgret db status`") from error
