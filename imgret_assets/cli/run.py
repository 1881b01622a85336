"""`imgret run`: refresh everything incrementally, as a run that the UI shows.

Belongs here: options, warnings and failed checks on stderr, the printed totals. Not here: executing the job
(`defs.execute_refresh`), what it does (`defs.assets`, `domain`), choosing a model (`domain.models.default_model`).
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from imgret_assets.cli.support.checks_before_run import check_before_run
from imgret_assets.cli.support.progress_bar import progress_bar
from imgret_assets.domain.models import default_model
from imgret_assets.domain.operations.table_store import store_session
from imgret_assets.domain.storage.home import open_home
from imgret_assets.image_roots import joined
from imgret_assets.settings import Settings, check_threshold, load_settings

if TYPE_CHECKING:
    from imgret_assets.domain.operations.run_totals import Totals


@click.command()
@click.option(
    "--images",
    # No Path: that would make one slash of the two in an address.
    type=click.Path(),
    multiple=True,
    help="Folder of the image files; NAME=FOLDER for each of several.",
)
@click.option("--home", type=click.Path(path_type=Path), help="Folder of tables, database and caches.")
@click.option("--model", help="resnet50, efficientnet_lite0, efficientnet_lite2, timm:<name> or openclip:<name>.")
@click.option("--weights", type=click.Path(path_type=Path), help="File with the model's weights.")
@click.option("--beside", multiple=True, help="Additional model to embed with: name or name=weights file.")
@click.option("--threshold", type=float, help="Raw cosine above which two images are related, -1 to 1.")
@click.option("--verify", is_flag=True, help="Open every file, even if its size and times have not changed.")
@click.option("--allow-deletes", is_flag=True, help="Continue although most known files are missing.")
@click.option("--tables", is_flag=True, help="Refresh the tables alone, and leave the graph as it is.")
@click.option("--json", "as_json", is_flag=True, help="Print the totals as one JSON document.")
@click.option("-v", "--verbose", is_flag=True, help="Log every event of the run with its time and run id.")
def run(
    images: tuple[str, ...],
    home: Path | None,
    model: str | None,
    weights: Path | None,
    beside: tuple[str, ...],
    threshold: float | None,
    verify: bool,
    allow_deletes: bool,
    tables: bool,
    as_json: bool,
    verbose: bool,
) -> None:
    """Refresh tables and graph from the image files: list, embed, compare, write nodes and relationships."""
    if threshold is not None:
        check_threshold(threshold, "--threshold")
    flags = {
        "images": joined(images),
        "home": home,
        "model": model,
        "weights": weights,
        "beside": ",".join(beside) or None,
    }
    totals = refresh_with_progress(
        load_settings({**flags, "images": joined(images)}),
        threshold=threshold,
        verify=verify,
        allow_deletes=allow_deletes,
        verbose=verbose,
        graph=not tables,
    )
    click.echo(json.dumps(totals.as_json()) if as_json else totals.summary)
    following = (
        "`imgret run` writes the graph, or `imgret export FOLDER --format neo4j-admin` the files of a first load"
        if tables
        else "`imgret app` opens the page, and `imgret query IMAGE` finds similar images"
    )
    click.echo(f"imgret: next, {following}", err=True)


def refresh_with_progress(
    settings: Settings,
    *,
    threshold: float | None = None,
    verify: bool = False,
    allow_deletes: bool = False,
    verbose: bool = False,
    graph: bool = True,
) -> "Totals":
    """Execute the refresh with a progress bar; print warnings and failed checks on stderr.

    A home that has no model yet gets one whose weights are on this machine, so that a run needs no set-up before it.

    Raises:
        ImgretError: the named failure that ended the run.
    """
    with store_session(settings, "imgret run") as session:
        if session is not None and session.taken is not None:
            click.echo(f"imgret: {session.taken.summary}", err=True)
        return _refresh(
            settings, threshold=threshold, verify=verify, allow_deletes=allow_deletes, verbose=verbose, graph=graph
        )


def _refresh(
    settings: Settings, *, threshold: float | None, verify: bool, allow_deletes: bool, verbose: bool, graph: bool
) -> "Totals":
    """Execute the refresh; the tables of a store have been taken."""
    check_before_run(settings)
    # After the checks: Dagster takes longer to load than they take.
    from imgret_assets.defs.execute_refresh import refresh
    from imgret_assets.domain.operations.complete_state import keep_complete_state

    for warning in settings.warnings:
        click.echo(f"imgret: {warning}", err=True)
    default_model.choose(open_home(settings), lambda line: click.echo(f"imgret: {line}", err=True), download=False)
    with progress_bar():
        result = refresh(
            settings, threshold=threshold, verify=verify, allow_deletes=allow_deletes, verbose=verbose, graph=graph
        )
    # The links of the state before would keep the replaced tables on the disk.
    keep_complete_state(open_home(settings))
    for failed_check in result.failed_checks:
        click.echo(f"imgret: {failed_check}", err=True)
    return result.totals
