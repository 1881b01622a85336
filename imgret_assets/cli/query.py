"""`imgret query`: find images similar to one or several query images, to each or to all of them together, or to words.

Belongs here: options and printing. Not here: the search (`domain.search.find_similar`), formats of output
(`cli.support.output`). Imports neither dagster nor pandas.
"""

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from imgret_assets.cli.support.image_arguments import files_in, folder_in_library, is_folder
from imgret_assets.cli.support.output import (
    COSINE,
    Output,
    absolute_paths,
    exit_code,
    fail_on_found,
    output_options,
)
from imgret_assets.cli.support.served_home import note_state, open_newest_home
from imgret_assets.domain.graph.connection import open_database
from imgret_assets.domain.images.crop import Crop
from imgret_assets.domain.search.find_similar import find_similar
from imgret_assets.domain.search.folders import check_folder
from imgret_assets.domain.search.query import METRICS, MODES, Answer, Hit, Query, QueryImage, Relation, read_query
from imgret_assets.domain.search.query_parts import QueryPart, QueryText
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import EXIT_FAILED, ImageError, did_you_mean
from imgret_assets.object_url import ImageFile
from imgret_assets.settings import load_settings
from imgret_assets.terminal import printable, unfiltered

_LISTED_CAMERAS = 10
_HIT, _RANKED, _RELATION = ("score", "path", "label"), ("rank_score",), ("relation", "of")


@dataclass(frozen=True)
class Answers:
    """The answers with the files of their query images, in order, and the number of unusable files."""

    answers: list[tuple[ImageFile, Answer]]
    unusable: int


@dataclass(frozen=True)
class Request:
    """What is searched for: the files, and what the query of each of them, or of all together, contains besides.

    Attributes:
        files: the query images.
        together: all files make one query.
        others: words, and what the hits shall not resemble.
        crop: the part of each of the files.
        query: number of hits, mode and filters.
    """

    files: list[ImageFile]
    together: bool
    others: list[QueryPart]
    crop: Crop | None
    query: Query

    def parts(self, images: Sequence[QueryImage]) -> list[QueryPart]:
        """Return the parts of the query of these images together."""
        return [*(QueryPart(image, crop=self.crop) for image in images), *self.others]


@click.command()
@click.argument("images", metavar="[IMAGE]...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--text", multiple=True, metavar="WORDS", help="Words that describe the hits; repeatable.")
@click.option("--less-text", multiple=True, metavar="WORDS", help="Words that the hits shall not resemble; repeatable.")
@click.option("--together", is_flag=True, help="Make one query of all images: the mean of their vectors.")
@click.option(
    "--less",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="IMAGE",
    help="An image, or a folder of images, that the hits shall not resemble; repeatable.",
)
@click.option(
    "--crop",
    metavar="X,Y,W,H",
    help="Search with this part of each IMAGE: pixels of the upright image, or percent as in 10%,5%,50%,50%.",
)
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
@click.option("--label", help="Only hits with this label: the folder that they lie in.")
@click.option("--folder", help="Only hits in this folder of the library or anywhere below it, such as photos/2024.")
@click.option("--since", metavar="DATE", help="Only photos taken on this date or later, such as 2024 or 2024-05-31.")
@click.option("--until", metavar="DATE", help="Only photos taken on this date, or in this year or month, or earlier.")
@click.option("--camera", help="Only photos by this camera, such as 'Canon EOS 5D', in upper or lower case.")
@click.option("--include-self", is_flag=True, help="Keep the query image itself if it is in the graph.")
@click.option(
    "--sheet", type=click.Path(path_type=Path), metavar="FILE.png", help="Draw the answer to one query image."
)
@output_options
@fail_on_found
@click.option("--home", type=click.Path(path_type=Path), help="Folder of tables, database and caches.")
def query(
    images: tuple[Path, ...],
    text: tuple[str, ...],
    less_text: tuple[str, ...],
    together: bool,
    less: tuple[Path, ...],
    crop: str | None,
    top_k: int,
    mode: str,
    metric: str,
    relations: bool,
    min_score: float | None,
    label: str | None,
    folder: str | None,
    since: str | None,
    until: str | None,
    camera: str | None,
    include_self: bool,
    sheet: Path | None,
    output: Output,
    fail_on_found: bool,
    home: Path | None,
) -> int:
    """Find images of the graph similar to IMAGE: a file, a folder of files, or a path under the image root.

    Each of several query images gets its own answer, with --together all get one. An unusable one is reported on stderr
    and left out; the command fails only if all are unusable. With --text, alone or besides images, the model needs a
    text tower.
    """
    import_driver_without_pandas()
    parameters = Query(
        top_k,
        mode,
        min_score,
        label,
        not include_self,
        relations,
        metric,
        since=since,
        until=until,
        camera=camera,
        folder=folder,
    ).check()
    rectangle = None if crop is None else Crop.parse(crop)
    if fail_on_found and min_score is None:
        raise click.UsageError("--fail-on-found needs --min-score: there is always a nearest image")
    if not images and (not text or crop):
        raise click.UsageError("--crop needs an IMAGE" if text else "Missing argument 'IMAGE...', or --text")
    opened = open_newest_home(load_settings({"home": home}))
    if folder is not None:
        # Before a database is started for a mistyped name.
        parameters = replace(parameters, folder=folder_in_library(folder, opened.images))
        check_folder(opened, str(parameters.folder))
    several = not together and (len(images) > 1 or any(is_folder(image, opened.images) for image in images))
    if sheet is not None and (together or less or crop or text or less_text):
        raise click.UsageError(
            "--sheet draws the answer to one whole image, without --together, --less, --crop and words"
        )
    if sheet is not None and (several or sheet.suffix.lower() != ".png"):
        raise click.UsageError("--sheet draws the answer to one query image; its file must end with .png")
    others = [
        *(QueryPart(QueryText(words)) for words in text),
        *(QueryPart(QueryText(words), less=True) for words in less_text),
        *(QueryPart(_read(opened, file), less=True) for file in files_in(less, opened.images)),
    ]
    request = Request(files_in(images, opened.images), together, others, rectangle, parameters)
    found = _search_for(opened, request, several=several)
    answers = [answer for _, answer in found.answers]
    # The graph may be ahead of the tables: then the answer says that it is being written.
    if not any(answer.refreshing for answer in answers):
        note_state(opened)
    _report(found, several=several, together=together, excluded=not include_self)
    if not any(answer.results for answer in answers):
        _report_filters(opened, parameters)
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


def _read(home: Home, file: ImageFile) -> QueryImage:
    return read_query(file, home.images, max_bytes=home.settings.max_bytes)


def _search_for(home: Home, request: Request, *, several: bool) -> Answers:
    if not request.files:
        return Answers([(Path(), find_similar(home, request.parts([]), request.query))], 0)
    return _search_together(home, request) if request.together else _search(home, request, several=several)


def _search(home: Home, request: Request, *, several: bool) -> Answers:
    """Search for one file after another over one connection; a single file that can't be used is an error."""
    answers: list[tuple[ImageFile, Answer]] = []
    unusable = 0
    if not several:
        # A mistyped name is an error before a database is started for it.
        _read(home, request.files[0])
    with open_database(home.settings) as database, progress_bar(len(request.files), shown=several) as step:
        for file in request.files:
            try:
                parts = request.parts([_read(home, file)])
                answers.append((file, find_similar(home, parts, request.query, database=database)))
            except ImageError as error:
                if not several:
                    raise
                unusable += 1
                _report_unusable(str(error))
            step()
    return Answers(answers, unusable)


def _search_together(home: Home, request: Request) -> Answers:
    """Search once with all files that can be used; the others are reported."""
    images: list[QueryImage] = []
    errors: list[ImageError] = []
    for file in request.files:
        try:
            images.append(_read(home, file))
        except ImageError as error:
            errors.append(error)
    if not images:
        raise errors[0]
    answer = find_similar(home, request.parts(images), request.query, skip_unusable=True)
    for message in [*map(str, errors), *answer.unusable]:
        _report_unusable(message)
    return Answers([(request.files[0], answer)], len(errors) + len(answer.unusable))


def _report_unusable(message: str) -> None:
    click.echo(f"imgret: {printable(message)}", err=True)


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


def _report(found: Answers, *, several: bool, together: bool, excluded: bool) -> None:
    """Print notes about the answers to stderr."""
    answers = [answer for _, answer in found.answers]
    if any(answer.refreshing for answer in answers):
        click.echo(
            "imgret: a run is writing to the graph, or the last one did not end; hits may be incomplete", err=True
        )
    if several or together:
        unusable = f"; {found.unusable:,} could not be used" if found.unusable else ""
        parts = answers[0].parts if together else []
        used = sum(not part["less"] and "text" not in part for part in parts) or 1 if together else len(answers)
        click.echo(f"imgret: {used:,} query images{' in one query' if together else ''}{unusable}", err=True)
    if not several and answers[0].query_paths:
        state = "left out" if excluded else "included"
        names = printable(", ".join(answers[0].query_paths))
        of_query = "the query image is" if len(answers[0].parts) <= 1 else "images of the query are"
        click.echo(f"imgret: {of_query} in the graph as {names} ({state})", err=True)
    for name in dict.fromkeys(name for answer in answers for name in answer.truncated):
        click.echo(
            f"imgret: the text is longer than the model reads; its end was left out: {printable(name)}", err=True
        )
    if not any(answer.results for answer in answers):
        click.echo("imgret: no similar image was found", err=True)
    if answers:
        took_ms = sum(answer.took_ms for answer in answers)
        click.echo(f"imgret: {answers[0].model}, {answers[0].mode}, {took_ms:,.0f} ms", err=True)


def _report_filters(home: Home, query: Query) -> None:
    """Say on stderr which labels, dates and cameras there are, if none of them passes the query's filters."""
    label, since, until, camera = (query.filters[name] for name in ("label", "since", "until", "camera"))
    if label is None and not query.has_shot_filters:
        return
    from imgret_assets.domain.images.library import cached_library

    library = cached_library(home)
    if label is not None and label not in library.labels:
        # A folder without images of its own is no label.
        meant = "; did you mean --folder?" if label in library.folders else did_you_mean(label, library.labels)
        click.echo(f"imgret: no image has the label {printable(label)!r}{printable(meant)}", err=True)
    if library.taken is None and not (since is until is None):
        click.echo("imgret: no image of the library has a date", err=True)
    elif library.taken is not None and (
        (since is not None and since > library.taken[1]) or (until is not None and until < library.taken[0])
    ):
        first, last = library.taken
        click.echo(f"imgret: the photos of the library were taken from {first} to {last}", err=True)
    if camera is not None:
        _report_cameras(library.cameras, str(camera))


def _report_cameras(cameras: Sequence[str], camera: str) -> None:
    if camera.lower() not in (each.lower() for each in cameras):
        near = [each for each in cameras if camera.lower() in each.lower()] or cameras
        more = f" and {len(near) - _LISTED_CAMERAS:,} more" if len(near) > _LISTED_CAMERAS else ""
        known = printable(", ".join(near[:_LISTED_CAMERAS]) or "none") + more
        click.echo(
            f"imgret: no image is by the camera {printable(camera)!r}; cameras of the library: {known}", err=True
        )


def _draw(file: ImageFile, answer: Answer, sheet: Path, home: Home) -> None:
    from imgret_assets.domain.images.contact_sheets import query_sheet

    title = f"Images similar to {file.name}, {answer.model}"
    query_sheet(file, answer.results, sheet, root=home.images, title=title)
    click.echo(f"imgret: the answer was drawn to {sheet}", err=True)


@contextmanager
def progress_bar(total: int, *, shown: bool) -> Iterator[Callable[[], object]]:
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
