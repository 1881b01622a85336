"""The `imgret` command: its subcommands and exit codes.

Belongs here: importing the module of a command when it is called, turning errors into messages and exit codes.
Not here: any command. Each has its own module, so that it does not import what only others need.
"""

import gc
import importlib
import os
import select
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import click
from click.shell_completion import CompletionItem

from imgret_assets.errors import ImgretError, did_you_mean
from imgret_assets.terminal import message_of, printable, printable_streams

# Exit codes of shells for a command that a signal has ended, by Ctrl-C or a closed pipe: 128 and the signal's number.
# git and ls return the same, and a script with `set -o pipefail` can distinguish `| head -1` from a failure.
EXIT_INTERRUPTED = 128 + 2
EXIT_CLOSED_PIPE = 128 + 13

# Imports make hundreds of thousands of objects that stay. With Python's own 700, looking through them for garbage again
# and again takes an eighth of a run in which nothing has changed.
_NEW_OBJECTS_BEFORE_COLLECTION = 50_000

# Name -> module and short help, so that listing the commands imports none of them.
COMMANDS = {
    "setup": ("imgret_assets.cli.setup", "Set up the default model, the home, Dagster's storage and secrets."),
    "run": ("imgret_assets.cli.run", "Refresh tables and graph from the image files."),
    "query": ("imgret_assets.cli.query", "Find images similar to a query image."),
    "known": ("imgret_assets.cli.known", "List the files of a folder that are already in the library."),
    "duplicates": ("imgret_assets.cli.duplicates", "List exact duplicates and near-duplicates."),
    "review": ("imgret_assets.cli.review", "Decide about duplicates; list, undo and export decisions."),
    "groups": ("imgret_assets.cli.groups", "List groups of similar images, or the members of a group."),
    "explain": ("imgret_assets.cli.explain", "Explain how similar two images are and how they are related."),
    "export": ("imgret_assets.cli.export", "Write nodes and relationships as parquet, CSV or GraphML."),
    "db": ("imgret_assets.cli.db", "Manage the Neo4j database: start, stop, status, shell, browse, adopt."),
    "app": ("imgret_assets.cli.app", "Start the web page."),
    "serve": ("imgret_assets.cli.serve", "Serve the HTTP API for other programs."),
    "dev": ("imgret_assets.cli.dev", "Start Dagster's webserver and daemon, and the web page."),
    "models": ("imgret_assets.cli.models", "List and compare models and embedding spaces."),
    "samples": ("imgret_assets.cli.samples", "Draw the sample catalogue, or download a public data set."),
    "demo": ("imgret_assets.cli.demo", "Refresh and query the samples, and measure the quality of the answers."),
    "doctor": ("imgret_assets.cli.doctor", "Check the requirements of imgret and suggest remedies."),
    "reshard": ("imgret_assets.cli.reshard", "Rewrite the tables into another number of partitions."),
    "gc": ("imgret_assets.cli.gc", "Remove files that nothing uses."),
    "completion": ("imgret_assets.cli.completion", "Print the completion script of a shell."),
}


# The command that a folder stands for in the place of a command; not listed.
START = "start"


class ClosedPipeError(Exception):
    """The reader closed the pipe (`| head -1`)."""


@contextmanager
def _closed_pipe_as_error() -> Iterator[None]:
    """Turn the `BrokenPipeError` of a closed output into `ClosedPipeError`; click would exit with 1."""
    try:
        yield
    except BrokenPipeError as error:
        if any(_is_closed(stream) for stream in (sys.stdout, sys.stderr)):
            raise ClosedPipeError from error
        # Not re-raised as it is, because click would treat any broken pipe as a closed output and print nothing.
        raise RuntimeError("A pipe or connection other than the output broke") from error


def _is_closed(stream: IO[str]) -> bool:
    """Return True if the reading end of the stream is closed."""
    try:
        poll = select.poll()
        poll.register(stream.fileno(), select.POLLOUT)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    except (OSError, ValueError):
        return False


class LazyGroup(click.Group):
    """A group that imports a command's module only when the command is called."""

    def make_context(self, *arguments: Any, **named: Any) -> click.Context:
        """Parse the arguments; print the help if it is requested."""
        with _closed_pipe_as_error():
            return super().make_context(*arguments, **named)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with _closed_pipe_as_error():
            return super().invoke(ctx)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands and options that start with `incomplete`, without importing any command."""
        commands = [
            CompletionItem(name, help=text) for name, (_, text) in COMMANDS.items() if name.startswith(incomplete)
        ]
        return commands + click.Command.shell_complete(self, ctx, incomplete)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of `COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command; None if there is none with that name."""
        if cmd_name not in COMMANDS:
            return None
        return getattr(importlib.import_module(COMMANDS[cmd_name][0]), cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command of the arguments; a folder in the place of a command stands for `start FOLDER`."""
        if args and args[0] not in COMMANDS and _looks_like_folder(args[0]):
            return START, getattr(importlib.import_module(f"imgret_assets.cli.{START}"), START), args
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            folders = [folder.name for folder in Path.cwd().iterdir() if folder.is_dir()] if args else []
            question = did_you_mean(args[0], [*COMMANDS, *folders]) if args else ""
            if not question or "did you mean" in error.message.lower():
                raise
            raise click.UsageError(f"{error.message.rstrip('.')}{question}", ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


def _looks_like_folder(word: str) -> bool:
    return word.startswith(("~", ".")) or os.sep in word or Path(word).is_dir()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="imgret", prog_name="imgret")
def imgret() -> None:
    """Find similar images in a collection that keeps changing.

    `imgret FOLDER` does all for a folder of images: it refreshes tables and graph, and opens the page.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit: 0 success, 1 failure, 2 wrong use, 11 result found, 130 Ctrl-C, 141 output closed."""
    gc.set_threshold(_NEW_OBJECTS_BEFORE_COLLECTION)
    with printable_streams():
        exit_code = run_command(arguments)
    sys.exit(exit_code)


def run_command(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    try:
        with _closed_pipe_as_error():
            result = imgret.main(args=arguments, prog_name="imgret", standalone_mode=False)
            sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except ImgretError as error:
        click.echo(f"imgret: {message_of(error)}", err=True)
        return error.exit_code
    except click.ClickException as error:
        error.message = printable(error.message)  # pyright: ignore[reportAttributeAccessIssue]
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("imgret: interrupted; run again to continue where it stopped", err=True)
        return EXIT_INTERRUPTED
    except ClosedPipeError:
        # Python would report the closed pipe again when it closes the streams.
        for stream in (sys.stdout, sys.stderr):
            if _is_closed(stream):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return EXIT_CLOSED_PIPE
    except Exception as error:  # noqa: BLE001, RUF100 - the last resort: a line in place of a page
        # Imported here, because a command that ends well needs nothing of it.
        from imgret_assets.cli.support.unexpected_errors import as_named_error

        named = as_named_error(error)
        click.echo(f"imgret: {message_of(named)}", err=True)
        return named.exit_code


if __name__ == "__main__":
    main()
