"""The `imgret` command: its group, its exit codes.

Belongs here: finding a command's module when it is called, turning failures into messages and exit codes.
Not here: any command, each in a module of its own, so that one doesn't pay for another's imports.
"""

import importlib
import os
import select
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

import click
from click.shell_completion import CompletionItem

from imgret_assets.errors import ImgretError

# What shells say of a command that Ctrl-C, or the end of its reader, has ended: 128 and the signal's number. Programs
# such as git and ls end so, and a script with `set -o pipefail` can tell `| head -1` from a failure.
EXIT_INTERRUPTED = 128 + 2
EXIT_CLOSED_PIPE = 128 + 13

# Name -> module and what it does: known without importing the module.
COMMANDS = {
    "setup": ("imgret_assets.cli.setup", "Make ready: the default model, the home, Dagster's storage, secrets."),
    "run": ("imgret_assets.cli.run", "Bring tables and graph up to date with the image files."),
    "query": ("imgret_assets.cli.query", "Find the images that look like a picture."),
    "duplicates": ("imgret_assets.cli.duplicates", "List copies of files: the same bytes, or the same picture."),
    "review": ("imgret_assets.cli.review", "Decide about duplicates: what is left, what was decided, undo, export."),
    "groups": ("imgret_assets.cli.groups", "List groups of images that belong together, or a group's members."),
    "explain": ("imgret_assets.cli.explain", "Say how alike two pictures are, and why they are joined or not."),
    "export": ("imgret_assets.cli.export", "Write nodes and relationships as parquet, CSV or GraphML."),
    "db": ("imgret_assets.cli.db", "The Neo4j database: start, stop, status, shell, browse, adopt."),
    "app": ("imgret_assets.cli.app", "Open the web page."),
    "dev": ("imgret_assets.cli.dev", "Start Dagster's webserver and daemon."),
    "models": ("imgret_assets.cli.models", "List models and embedding spaces, and compare how good they are."),
    "samples": ("imgret_assets.cli.samples", "Draw the sample catalogue, or fetch a real data set."),
    "demo": ("imgret_assets.cli.demo", "Run the whole chain on the samples and show how good the answers are."),
    "doctor": ("imgret_assets.cli.doctor", "Check what imgret needs, and say what to do."),
    "reshard": ("imgret_assets.cli.reshard", "Rewrite the tables into another number of partitions."),
    "gc": ("imgret_assets.cli.gc", "Remove what nothing uses any more."),
    "completion": ("imgret_assets.cli.completion", "Print the script that completes imgret's commands in a shell."),
}


class ClosedPipeError(Exception):
    """Who reads the output has had enough (`| head -1`)."""


@contextmanager
def _closed_pipe_by_name() -> Iterator[None]:
    """Let a closed output be told from every other broken pipe, which click would end with 1."""
    try:
        yield
    except BrokenPipeError as error:
        if any(_nobody_reads(stream) for stream in (sys.stdout, sys.stderr)):
            raise ClosedPipeError from error
        # Not as it is: click takes any broken pipe for its own and says nothing.
        raise RuntimeError("A pipe or connection that is not the output broke") from error


def _nobody_reads(stream: IO[str]) -> bool:
    try:
        poll = select.poll()
        poll.register(stream.fileno(), select.POLLOUT)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    except (OSError, ValueError):
        return False


class LazyGroup(click.Group):
    """A group that imports a command's module only when the command is called."""

    def make_context(self, *arguments: Any, **named: Any) -> click.Context:
        """Parse; prints the help, where that is asked for."""
        with _closed_pipe_by_name():
            return super().make_context(*arguments, **named)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with _closed_pipe_by_name():
            return super().invoke(ctx)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Commands and options that go on with what was typed; no command is imported."""
        commands = [
            CompletionItem(name, help=text) for name, (_, text) in COMMANDS.items() if name.startswith(incomplete)
        ]
        return commands + click.Command.shell_complete(self, ctx, incomplete)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        if cmd_name not in COMMANDS:
            return None
        return getattr(importlib.import_module(COMMANDS[cmd_name][0]), cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="imgret", prog_name="imgret")
def imgret() -> None:
    """Find look-alike images in a collection that keeps changing."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit: 0 done, 1 failed, 2 wrong use, 11 found, 130 interrupted, 141 output closed."""
    sys.exit(run_command(arguments))


def run_command(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit code."""
    try:
        with _closed_pipe_by_name():
            result = imgret.main(args=arguments, prog_name="imgret", standalone_mode=False)
            sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except ImgretError as error:
        click.echo(f"imgret: {error}", err=True)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("imgret: stopped; run again: it goes on where it was", err=True)
        return EXIT_INTERRUPTED
    except ClosedPipeError:
        # Python would complain once more when it closes the streams.
        for stream in (sys.stdout, sys.stderr):
            if _nobody_reads(stream):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return EXIT_CLOSED_PIPE


if __name__ == "__main__":
    main()
