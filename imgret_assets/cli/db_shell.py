"""The Cypher prompt of `imgret db shell`.

Belongs here: reading statements and showing rows. Not here: the commands (`cli.db`).
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imgret_assets.cli.support import cypher_text
from imgret_assets.cli.support.cypher_text import Command
from imgret_assets.errors import DatabaseError, ImageError, ImgretError, SettingError
from imgret_assets.settings import Settings

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
        """Run everything in order, to the end, `:exit` or the first failure.

        Raises:
            ImgretError: a statement or command failed.
        """
        parts, rest = cypher_text.split(text)
        for part in [*parts, *([rest] if rest else [])]:
            if self.done:
                return
            self.run(part)

    def converse(self) -> None:
        """Read from the terminal until `:exit` or end of file; failures are shown and forgotten."""
        with suppress(ImportError):  # some builds of Python have none
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
            click.echo(cypher_text.table(columns, rows))
        for note in summary.gql_status_objects:
            if note.is_notification:
                click.echo(note.status_description, err=True)
        took_ms = (time.perf_counter() - begun) * 1000
        click.echo(cypher_text.summary(len(rows), summary.counters, took_ms))

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
        from imgret_assets.domain.search.query_embedding import embed_query

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
        click.echo(f"${name} = {cypher_text.show(self.parameters[name], nested=True)}")

    def _exit(self, _: Command) -> None:
        self.done = True


def _two_words(command: Command, form: str) -> tuple[str, str]:
    found = command.name_and_value()
    if found is None:
        raise SettingError(f":{command.name} {command.rest}".rstrip(), expected=form)
    return found


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
