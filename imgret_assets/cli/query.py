"""`imgret query`: what looks like this picture?

Belongs here: options and printing. Not here: finding (`domain.search`). Imports neither dagster nor pandas.
"""

import importlib
import json
import sys
from pathlib import Path

import click

from imgret_assets.domain.home import open_home
from imgret_assets.domain.search import METRICS, MODES, Answer, Query, find_similar, read_query
from imgret_assets.settings import load_settings


@click.command()
@click.argument("image", type=click.Path(path_type=Path))
@click.option("-k", "--top-k", default=5, show_default=True, help="Hits wanted.")
@click.option(
    "--mode",
    type=click.Choice(MODES),
    default="index",
    show_default=True,
    help="The vector index, every node, or every image ranked again with the help of its neighbours.",
)
@click.option(
    "--metric",
    type=click.Choice(METRICS),
    default="cosine",
    show_default=True,
    help="What ranks the hits; any but cosine with --mode exact.",
)
@click.option("--relations", is_flag=True, help="Show each hit's SIMILAR_TO relations, both directions.")
@click.option("--min-score", type=float, help="Hits have at least this raw cosine.")
@click.option("--label", help="Hits have this label (their folder).")
@click.option("--include-self", is_flag=True, help="Keep the picture itself, where it is in the graph.")
@click.option("--home", type=click.Path(path_type=Path), help="Folder of tables, database and caches.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def query(
    image: Path,
    top_k: int,
    mode: str,
    metric: str,
    relations: bool,
    min_score: float | None,
    label: str | None,
    include_self: bool,
    home: Path | None,
    as_json: bool,
) -> None:
    """Find the images of the graph that look like IMAGE."""
    _import_driver_without_pandas()
    asked = Query(top_k, mode, min_score, label, not include_self, relations, metric).check()
    opened = open_home(load_settings({"home": home}))
    answer = find_similar(opened, read_query(image, opened.images), asked)
    if as_json:
        click.echo(json.dumps(answer.as_json(), ensure_ascii=False))
    else:
        show(answer, excluded=not include_self)


def _import_driver_without_pandas() -> None:
    """Import the Neo4j driver while pandas seems not to be installed.

    The driver imports pandas wherever it is there, to take its types as parameters: half a second for nothing.
    """
    if "pandas" in sys.modules:
        return
    sys.modules["pandas"] = None  # type: ignore[assignment]
    try:
        importlib.import_module("neo4j")
    finally:
        del sys.modules["pandas"]


def show(answer: Answer, *, excluded: bool) -> None:
    """Print hits on stdout, everything about them on stderr."""
    if answer.refreshing:
        click.echo("imgret: a run is writing to the graph; hits may be incomplete", err=True)
    if answer.itself:
        state = "left out" if excluded else "included"
        click.echo(f"imgret: the picture is in the graph as {', '.join(answer.itself)} ({state})", err=True)
    for hit in answer.results:
        ranked = "" if hit.rank_score is None else f"\t{hit.rank_score:.4f}"
        click.echo(f"{hit.score:.4f}\t{hit.path}{ranked}")
        for relation in hit.relations or ():
            click.echo(f"\t{relation.score:.4f}\t{'->' if relation.outgoing else '<-'}\t{relation.path}")
    if not answer.results:
        click.echo("imgret: nothing was found", err=True)
    click.echo(f"imgret: {answer.model}, {answer.mode}, {answer.took_ms:.0f} ms", err=True)
