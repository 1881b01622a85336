"""The `imgret` command: its group, its exit codes.

Belongs here: finding a command's module when it is called, turning failures into messages and exit codes.
Not here: any command, each in a module of its own, so that one doesn't pay for another's imports.
"""

import importlib
import os
import sys
from collections.abc import Sequence

import click

from imgret_assets.errors import EXIT_FAILED, ImgretError

# Name -> module and what it does: known without importing the module.
COMMANDS = {
    "setup": ("imgret_assets.cli.setup", "Make ready: the default model, the home, Dagster's storage, secrets."),
    "run": ("imgret_assets.cli.run", "Bring tables and graph up to date with the image files."),
    "query": ("imgret_assets.cli.query", "Find the images that look like a picture."),
    "duplicates": ("imgret_assets.cli.duplicates", "List copies of files: the same bytes, or the same picture."),
    "db": ("imgret_assets.cli.db", "The Neo4j database: start, stop, status, shell, browse, adopt."),
    "app": ("imgret_assets.cli.app", "Open the web page."),
    "dev": ("imgret_assets.cli.dev", "Start Dagster's webserver and daemon."),
    "models": ("imgret_assets.cli.models", "List models and embedding spaces, and compare how good they are."),
    "samples": ("imgret_assets.cli.samples", "Draw the sample catalogue, or fetch a real data set."),
    "demo": ("imgret_assets.cli.demo", "Run the whole chain on the samples and show how good the answers are."),
    "doctor": ("imgret_assets.cli.doctor", "Check what imgret needs, and say what to do."),
    "reshard": ("imgret_assets.cli.reshard", "Rewrite the tables into another number of partitions."),
    "gc": ("imgret_assets.cli.gc", "Remove what nothing uses any more."),
}


class LazyGroup(click.Group):
    """A group that imports a command's module only when the command is called."""

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
    """Run a command and exit: 0 done, 1 failed, 2 wrong use."""
    sys.exit(run_command(arguments))


def run_command(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit code."""
    try:
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
        return EXIT_FAILED
    except BrokenPipeError:
        # The reader has had enough (`| head -1`). Python would complain once more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    main()
