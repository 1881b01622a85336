"""`imgret FOLDER`: everything for a folder of images, from set-up to the opened page.

Belongs here: the order of the steps, the next steps that it prints. Not here: any step (`cli.run`, `cli.app`).
"""

import os
import shlex
import sys
from pathlib import Path

import click

from imgret_assets.cli.app import page_port
from imgret_assets.cli.run import refresh_with_progress
from imgret_assets.locations import default_home, program
from imgret_assets.object_url import ImageFile, image_file_at
from imgret_assets.settings import Settings, load_settings

NEXT_STEPS = (
    ("query IMAGE", "find images similar to one"),
    ("duplicates", "list duplicates; `review` decides about them"),
    ("run", "refresh after files have changed"),
)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--home", type=click.Path(path_type=Path), help="Folder of tables, database and caches.")
@click.option("--model", help="resnet50, efficientnet_lite0, efficientnet_lite2, timm:<name> or openclip:<name>.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port of the page.")
@click.option("--open/--no-open", "open_browser", default=True, help="Open the page in a browser, or do not.")
def start(folder: Path, home: Path | None, model: str | None, port: int | None, open_browser: bool) -> None:
    """Refresh tables and graph from the image files of FOLDER, then start the page and open it.

    Everything that is missing is made at first use: the home, its model, the embedded Neo4j.
    """
    settings = load_settings({"images": _location(folder), "home": home, "model": model})
    chosen_port = page_port(port)
    totals = refresh_with_progress(settings)
    click.echo(totals.summary)
    click.echo(next_steps(settings))
    start_page(settings, chosen_port, open_browser=open_browser)


def next_steps(settings: Settings) -> str:
    """Return the commands that a user may want next, one on each line."""
    home = "" if settings.home == default_home() else f" --home {shlex.quote(str(settings.home))}"
    commands = [(f"{program()} {command}{home}", text) for command, text in NEXT_STEPS]
    width = max(len(command) for command, _ in commands)
    return "\n".join(["Next steps", *(f"  {command:{width}}  {text}" for command, text in commands)])


def start_page(settings: Settings, port: int, *, open_browser: bool) -> None:
    """Replace this process by that of the page: a new one has none of the memory that the refresh has needed."""
    sys.stdout.flush()
    sys.stderr.flush()
    words = ["app", "--home", str(settings.home), "--port", str(port), "--open" if open_browser else "--no-open"]
    os.execv(sys.executable, [sys.executable, "-m", "imgret_assets.cli.main", *words])  # noqa: S606


def _location(argument: Path) -> ImageFile:
    """Return the folder or prefix of an argument, absolute: its name may look like several roots."""
    place = image_file_at(argument)
    return place.expanduser().absolute() if isinstance(place, Path) else place
