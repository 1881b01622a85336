"""`imgret samples`: pictures to try imgret with.

Belongs here: flags and what is said. Not here: making the pictures (`samples.folders`).
"""

import sys
from collections.abc import Callable
from pathlib import Path

import click

from imgret_assets.settings import load_settings

_DATASETS = ("drawn", "caltech101", "oxford-iiit-pet", "flowers102")


@click.command()
@click.option("--out", type=click.Path(path_type=Path), help="Folder to fill (default: HOME/samples).")
@click.option(
    "--dataset",
    type=click.Choice(_DATASETS),
    default="drawn",
    show_default=True,
    help="The drawn catalogue, or a public dataset to download.",
)
@click.option("--force", is_flag=True, help="Make them again, in a folder that imgret made.")
@click.option("--home", type=click.Path(path_type=Path), help="Home folder (default: IMGRET_HOME, else ./data).")
def samples(out: Path | None, dataset: str, force: bool, home: Path | None) -> None:
    """Make a folder of sample images, and some to ask with beside it.

    The drawn catalogue needs no network: products, cars first, in several colours, angles and scenes, with
    cropped, recompressed and exact copies. truth.csv says which is which.
    """
    from imgret_assets.samples.folders import draw_catalogue, fetch_dataset

    folder = (out or load_settings({"home": home}).home / "samples").absolute()
    if dataset == "drawn":
        made = draw_catalogue(folder, progress=_progress("products drawn"), force=force)
    else:
        made = fetch_dataset(dataset, folder, progress=_progress("photos written"), force=force)
    what = f"{made.n_images} images of {len(made.families)} families under {len(made.labels)} labels in {made.folder}"
    click.echo(f"{what}; queries in {made.queries}" if made.drawn else f"Nothing to do: {what} are there already")


def _progress(what: str) -> Callable[[int, int], None] | None:
    if not sys.stderr.isatty():
        return None

    def show(done: int, total: int) -> None:
        click.echo(f"\r{done} of {total} {what}", err=True, nl=done == total)

    return show
