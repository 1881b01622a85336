"""`imgret query`: what looks like this picture, or each of these?

Belongs here: options and printing. Not here: finding (`domain.search.find_similar`), forms of output
(`cli.support.output`). Imports neither dagster nor pandas.
"""

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from imgret_assets.cli.support.image_arguments import as_file, files_in
from imgret_assets.cli.support.output import (
    COSINE,
    Output,
    absolute_paths,
    exit_code,
    fail_on_found,
    output_options,
    printable,
)
from imgret_assets.domain.graph.connection import open_database
from imgret_assets.domain.search.find_similar import find_similar
from imgret_assets.domain.search.query import METRICS, MODES, Answer, Hit, Query, Relation, read_query
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.errors import EXIT_FAILED, ImageError
from imgret_assets.settings import load_settings

_HIT, _RANKED, _RELATION = ("score", "path", "label"), ("rank_score",), ("relation", "of")


@dataclass(frozen=True)
class Asked:
    """The answers to some pictures, the pictures in their order, and how many could not be used."""

    answers: list[tuple[Path, Answer]]
    unusable: int


@click.command()
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, type=click.Path(path_type=Path))
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
@click.option("--sheet", type=click.Path(path_type=Path), metavar="FILE.png", help="Draw the answer to one picture.")
@output_options
@fail_on_found
@click.option("--home", type=click.Path(path_type=Path), help="Folder of tables, database and caches.")
def query(
    images: tuple[Path, ...],
    top_k: int,
    mode: str,
    metric: str,
    relations: bool,
    min_score: float | None,
    label: str | None,
    include_self: bool,
    sheet: Path | None,
    output: Output,
    fail_on_found: bool,
    home: Path | None,
) -> int:
    """Find the images of the graph that look like IMAGE: a file, a folder of files, or a path under the image root.

    Of several pictures each gets its answer; one that can't be used is a line on stderr, and only if all are is that a
    failure.
    """
    import_driver_without_pandas()
    asked = Query(top_k, mode, min_score, label, not include_self, relations, metric).check()
    if fail_on_found and min_score is None:
        raise click.UsageError("--fail-on-found needs --min-score: there is always a nearest image")
    opened = open_home(load_settings({"home": home}))
    several = len(images) > 1 or any(as_file(image, opened.images).is_dir() for image in images)
    if sheet is not None and (several or sheet.suffix.lower() != ".png"):
        raise click.UsageError("--sheet draws the answer to one picture, into a file that ends with .png")
    found = _ask(opened, files_in(images, opened.images), asked, several=several)
    answers = [answer for _, answer in found.answers]
    _tell(found, several=several, excluded=not include_self)
    if sheet is not None:
        _draw(*found.answers[0], sheet, opened)
    documents = [_document(answer) for answer in answers]
    output.emit(
        _columns(answers, asked, several=several, table=output.form == "table"),
        list(_rows(answers)),
        document=documents if several else documents[0],
        lines=documents,
        paths=absolute_paths(opened.images, dict.fromkeys(hit.path for answer in answers for hit in answer.results)),
    )
    if found.unusable and not answers:
        return EXIT_FAILED
    return exit_code(any_result=any(answer.results for answer in answers), fail_on_found=fail_on_found)


def _ask(home: Home, pictures: Sequence[Path], asked: Query, *, several: bool) -> Asked:
    """Ask with one picture after another over one connection; a single one that can't be used is an error."""
    answers: list[tuple[Path, Answer]] = []
    unusable = 0
    if not several:
        # A mistyped name is said before a database is started for it.
        read_query(pictures[0], home.images)
    with open_database(home.settings) as database, _bar(len(pictures), shown=several) as step:
        for picture in pictures:
            try:
                image = read_query(picture, home.images)
                answers.append((picture, find_similar(home, image, asked, database=database)))
            except ImageError as error:
                if not several:
                    raise
                unusable += 1
                click.echo(f"imgret: {printable(str(error))}", err=True)
            step()
    return Asked(answers, unusable)


def _columns(answers: Sequence[Answer], asked: Query, *, several: bool, table: bool) -> list[str]:
    ranked = any(hit.rank_score is not None for answer in answers for hit in answer.results)
    # For programs the same columns whether one picture was asked with or many.
    asked_with = ("query",) if several or not table else ()
    return [*_HIT, *(_RANKED if ranked else ()), *(_RELATION if asked.relations else ()), *asked_with]


def _rows(answers: Sequence[Answer]) -> Iterator[dict[str, Any]]:
    """A row for each hit, followed by one for each of its relations, where they were asked for."""
    for answer in answers:
        for hit in answer.results:
            yield {**_facts(hit), "rank_score": hit.rank_score, "query": answer.query}
            for relation in hit.relations or ():
                direction = "outgoing" if relation.outgoing else "incoming"
                yield {**_facts(relation), "relation": direction, "of": hit.path, "query": answer.query}


def _facts(found: Hit | Relation) -> dict[str, Any]:
    return {"score": found.score, "path": found.path, "label": found.label}


def _document(answer: Answer) -> dict[str, Any]:
    """As `Answer.as_json`, and what the scores are; `higher_is_closer` is said of what ranked the hits."""
    closer = {"metric": answer.metric, "higher_is_closer": answer.metric != "euclidean"}
    return {**COSINE, **answer.as_json(), **closer}


def _tell(found: Asked, *, several: bool, excluded: bool) -> None:
    """Say on stderr what is to be known about the answers."""
    answers = [answer for _, answer in found.answers]
    if any(answer.refreshing for answer in answers):
        click.echo("imgret: a run is writing to the graph; hits may be incomplete", err=True)
    if several:
        late = f"; {found.unusable:,} could not be used" if found.unusable else ""
        click.echo(f"imgret: {len(answers):,} pictures were asked with{late}", err=True)
    elif answers[0].query_paths:
        state = "left out" if excluded else "included"
        names = printable(", ".join(answers[0].query_paths))
        click.echo(f"imgret: the picture is in the graph as {names} ({state})", err=True)
    if not any(answer.results for answer in answers):
        click.echo("imgret: nothing was found", err=True)
    if answers:
        took_ms = sum(answer.took_ms for answer in answers)
        click.echo(f"imgret: {answers[0].model}, {answers[0].mode}, {took_ms:,.0f} ms", err=True)


def _draw(picture: Path, answer: Answer, sheet: Path, home: Home) -> None:
    from imgret_assets.domain.images.contact_sheets import query_sheet

    title = f"What looks like {picture.name}? {answer.model}"
    query_sheet(picture, answer.results, sheet, root=home.images, title=title)
    click.echo(f"imgret: the answer is drawn in {sheet}", err=True)


@contextmanager
def _bar(total: int, *, shown: bool) -> Iterator[Callable[[], object]]:
    """A bar on stderr for many pictures, where that is a terminal; what moves it."""
    if not shown or not sys.stderr.isatty():
        yield lambda: None
        return
    from tqdm import tqdm

    with tqdm(total=total, unit=" pictures", dynamic_ncols=True, file=sys.stderr) as bar:
        yield bar.update


def import_driver_without_pandas() -> None:
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
