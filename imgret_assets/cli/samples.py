"""`imgret samples`: images to try imgret with.

Belongs here: options and messages. Not here: making the images (`samples.folders`).
"""

import sys
from collections.abc import Callable
from pathlib import Path

import click

from imgret_assets.domain.storage import permissions
from imgret_assets.settings import load_settings
from imgret_assets.terminal import unfiltered
from imgret_assets.wording import counted

_DATASETS = ("drawn", "caltech101", "oxford-iiit-pet", "flowers102")


@click.command()
@click.option("--out", type=click.Path(path_type=Path), help="Folder to fill (default: HOME/samples).")
@click.option(
    "--dataset",
    type=click.Choice(_DATASETS),
    default="drawn",
    show_default=True,
    help="The drawn catalogue, or a public data set to download.",
)
@click.option("--force", is_flag=True, help="Make the images again in a folder that imgret made.")
@click.option("--home", type=click.Path(path_type=Path), help="Folder of tables, database and caches.")
def samples(out: Path | None, dataset: str, force: bool, home: Path | None) -> None:
    """Make a folder of sample images, and a folder of query images next to it.

    The drawn catalogue needs no network. It contains products, cars first, in several colours, angles and scenes,
    with cropped and recompressed near-duplicates and with exact duplicates. truth.csv lists them.
    """
    from imgret_assets.samples.folders import draw_catalogue, fetch_dataset

    settings = load_settings({"home": home})
    if out is None:
        permissions.restrict(settings.readable_by)
    folder = (out or settings.home / "samples").absolute()
    if dataset == "drawn":
        collection = draw_catalogue(
            folder, progress=_progress("products drawn"), force=force, lock_timeout_s=settings.lock_timeout_s
        )
    else:
        collection = fetch_dataset(
            dataset,
            folder,
            progress=_progress("images written"),
            force=force,
            lock_timeout_s=settings.lock_timeout_s,
        )
    content = (
        f"{counted(collection.n_images, 'image')} of {counted(len(collection.families), 'family')} "
        f"under {counted(len(collection.labels), 'label')} in {collection.folder}"
    )
    click.echo(f"{content}; queries in {collection.queries}" if collection.drawn else f"Nothing to do: {content} exist")


def _progress(action: str) -> Callable[[int, int], None] | None:
    """Return a function that shows progress on a terminal; None if stderr is not one."""
    if not sys.stderr.isatty():
        return None

    def show(done: int, total: int) -> None:
        click.echo(f"\r{done} of {total} {action}", file=unfiltered(sys.stderr), nl=done == total)

    return show
