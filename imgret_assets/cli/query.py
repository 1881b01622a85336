"""`imgret query`: find images similar to one or several query images.

Belongs here: options and printing. Not here: the search (`domain.search.find_similar`), formats of output
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
)
from imgret_assets.cli.support.served_home import note_state
from imgret_assets.domain.graph.connection import open_database
from imgret_assets.domain.operations.complete_state import served_home
from imgret_assets.domain.search.find_similar import find_similar
from imgret_assets.domain.search.query import METRICS, MODES, Answer, Hit, Query, Relation, read_query
from imgret_assets.domain.storage.home import Home, open_existing_home
from imgret_assets.errors import EXIT_FAILED, ImageError
from imgret_assets.settings import load_settings
from imgret_assets.terminal import printable, unfiltered

_HIT, _RANKED, _RELATION = ("score", "path", "label"), ("rank_score",), ("relation", "of")


@dataclass(frozen=True)
class Answers:
    """The answers with the files of their query images, in order, and the number of unusable files."""

    answers: list[tuple[Path, Answer]]
    unusable: int


@click.command()
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-k", "--top-k", default=5, show_default=True, help="Number of hits.")
@click.option(
    "--mode",
    type=click.Choice(MODES),
    default="index",
    show_default=True,
    help="Search the vector index, every node, or every image re-ranked with the help of its neighbours.",
)
@click.option(
    "--metric",
    type=click.Choice(METRICS),
    default="cosine",
    show_default=True,
    help="What ranks the hits; others than cosine need --mode exact.",
)
@click.option("--relations", is_flag=True, help="Show the SIMILAR_TO relationships of each hit, in both directions.")
@click.option("--min-score", type=float, help="Only hits with at least this raw cosine.")
@click.option("--label", help="Only hits with this label (their folder).")
@click.option("--include-self", is_flag=True, help="Keep the query image itself if it is in the graph.")
@click.option(
    "--sheet", type=click.Path(path_type=Path), metavar="FILE.png", help="Draw the answer to one query image."
)
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
    """Find images of the graph similar to IMAGE: a file, a folder of files, or a path under the image root.

    Each of several query images gets its own answer. An unusable one is reported on stderr; the command fails only if
    all are unusable.
    """
    import_driver_without_pandas()
    parameters = Query(top_k, mode, min_score, label, not include_self, relations, metric).check()
    if fail_on_found and min_score is None:
        raise click.UsageError("--fail-on-found needs --min-score: there is always a nearest image")
    opened = served_home(open_existing_home(load_settings({"home": home})))
    several = len(images) > 1 or any(as_file(image, opened.images).is_dir() for image in images)
    if sheet is not None and (several or sheet.suffix.lower() != ".png"):
        raise click.UsageError("--sheet draws the answer to one query image; its file must end with .png")
    found = _search(opened, files_in(images, opened.images), parameters, several=several)
    answers = [answer for _, answer in found.answers]
    # The graph may be ahead of the tables: then the answer says that it is being written.
    if not any(answer.refreshing for answer in answers):
        note_state(opened)
    _report(found, several=several, excluded=not include_self)
    if sheet is not None:
        _draw(*found.answers[0], sheet, opened)
    documents = [_document(answer) for answer in answers]
    output.emit(
        _columns(answers, parameters, several=several, table=output.form == "table"),
        list(_rows(answers)),
        document=documents if several else documents[0],
        lines=documents,
        paths=absolute_paths(opened.images, dict.fromkeys(hit.path for answer in answers for hit in answer.results)),
    )
    if found.unusable and not answers:
        return EXIT_FAILED
    return exit_code(any_result=any(answer.results for answer in answers), fail_on_found=fail_on_found)


def _search(home: Home, files: Sequence[Path], parameters: Query, *, several: bool) -> Answers:
    """Search for one file after another over one connection; a single file that can't be used is an error."""
    answers: list[tuple[Path, Answer]] = []
    unusable = 0
    if not several:
        # A mistyped name is an error before a database is started for it.
        read_query(files[0], home.images, max_bytes=home.settings.max_bytes)
    with open_database(home.settings) as database, _progress_bar(len(files), shown=several) as step:
        for file in files:
            try:
                image = read_query(file, home.images, max_bytes=home.settings.max_bytes)
                answers.append((file, find_similar(home, image, parameters, database=database)))
            except ImageError as error:
                if not several:
                    raise
                unusable += 1
                click.echo(f"imgret: {printable(str(error))}", err=True)
            step()
    return Answers(answers, unusable)


def _columns(answers: Sequence[Answer], parameters: Query, *, several: bool, table: bool) -> list[str]:
    ranked = any(hit.rank_score is not None for answer in answers for hit in answer.results)
    # Programs get the same columns for one query image and for several.
    query_column = ("query",) if several or not table else ()
    return [*_HIT, *(_RANKED if ranked else ()), *(_RELATION if parameters.relations else ()), *query_column]


def _rows(answers: Sequence[Answer]) -> Iterator[dict[str, Any]]:
    """Yield a row for each hit, followed by one for each of its relations, if the query asked for them."""
    for answer in answers:
        for hit in answer.results:
            yield {**_facts(hit), "rank_score": hit.rank_score, "query": answer.query}
            for relation in hit.relations or ():
                direction = "outgoing" if relation.outgoing else "incoming"
                yield {**_facts(relation), "relation": direction, "of": hit.path, "query": answer.query}


def _facts(image: Hit | Relation) -> dict[str, Any]:
    return {"score": image.score, "path": image.path, "label": image.label}


def _document(answer: Answer) -> dict[str, Any]:
    """Return `Answer.as_json` with a description of the scores; `higher_is_closer` is about what ranked the hits."""
    ranking = {"metric": answer.metric, "higher_is_closer": answer.metric != "euclidean"}
    return {**COSINE, **answer.as_json(), **ranking}


def _report(found: Answers, *, several: bool, excluded: bool) -> None:
    """Print notes about the answers to stderr."""
    answers = [answer for _, answer in found.answers]
    if any(answer.refreshing for answer in answers):
        click.echo(
            "imgret: a run is writing to the graph, or the last one did not end; hits may be incomplete", err=True
        )
    if several:
        unusable = f"; {found.unusable:,} could not be used" if found.unusable else ""
        click.echo(f"imgret: {len(answers):,} query images{unusable}", err=True)
    elif answers[0].query_paths:
        state = "left out" if excluded else "included"
        names = printable(", ".join(answers[0].query_paths))
        click.echo(f"imgret: the query image is in the graph as {names} ({state})", err=True)
    if not any(answer.results for answer in answers):
        click.echo("imgret: no similar image was found", err=True)
    if answers:
        took_ms = sum(answer.took_ms for answer in answers)
        click.echo(f"imgret: {answers[0].model}, {answers[0].mode}, {took_ms:,.0f} ms", err=True)


def _draw(file: Path, answer: Answer, sheet: Path, home: Home) -> None:
    from imgret_assets.domain.images.contact_sheets import query_sheet

    title = f"Images similar to {file.name}, {answer.model}"
    query_sheet(file, answer.results, sheet, root=home.images, title=title)
    click.echo(f"imgret: the answer was drawn to {sheet}", err=True)


@contextmanager
def _progress_bar(total: int, *, shown: bool) -> Iterator[Callable[[], object]]:
    """Show a progress bar on stderr if it is a terminal; yield the function that advances it."""
    if not shown or not sys.stderr.isatty():
        yield lambda: None
        return
    from tqdm import tqdm

    with tqdm(total=total, unit=" images", dynamic_ncols=True, file=unfiltered(sys.stderr)) as bar:
        yield bar.update


def import_driver_without_pandas() -> None:
    """Import the Neo4j driver while pandas is hidden.

    The driver imports pandas if it is installed, to accept its types as parameters. That takes half a second and is not
    needed here.
    """
    if "pandas" in sys.modules:
        return
    sys.modules["pandas"] = None  # type: ignore[assignment]
    try:
        importlib.import_module("neo4j")
    finally:
        del sys.modules["pandas"]
