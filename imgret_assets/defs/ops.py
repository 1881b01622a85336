"""The op that finds images similar to a query image, and its configuration.

Belongs here: `SimilarityQuery`, the op, the answer as Markdown. Not here: the search (`domain.search.find_similar`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlencode

import dagster as dg
from pydantic import Field

from imgret_assets.defs.resources.neo4j import Neo4jResource
from imgret_assets.defs.resources.warehouse import WarehouseResource
from imgret_assets.domain.images.contact_sheets import data_uri
from imgret_assets.domain.images.crop import Crop
from imgret_assets.domain.images.example_image import find_example
from imgret_assets.domain.search.find_similar import find_similar
from imgret_assets.domain.search.query import Answer, Query, QueryImage, read_query
from imgret_assets.domain.search.query_parts import QueryPart, QueryText, check_parts
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import ImageError, QueryError
from imgret_assets.image_roots import AnyRoot
from imgret_assets.object_url import ImageFile, image_file_at
from imgret_assets.wording import score_text

THUMBNAIL_PIXELS = 96
# Dagster stores metadata in its event log, which more thumbnails would make too large.
MAX_THUMBNAILS = 16
MAX_QUERY_THUMBNAILS = 5


class SimilarityQuery(dg.Config):
    """Configuration of a query."""

    image_path: str = Field(
        default="",
        description="Query image: a file on the machine that runs the job. If empty, and no text either: an image of "
        "the home.",
    )
    text: str = Field(
        default="",
        description="Words that describe the hits, alone or besides images; the model needs a text tower.",
    )
    less_text: str = Field(default="", description="Words that the hits shall not resemble.")
    together: list[str] = Field(default=[], description="Further query images, files likewise: all make one query.")
    less: list[str] = Field(default=[], description="Images, files likewise, that the hits shall not resemble.")
    crop: str | None = Field(
        default=None,
        description="Search with this part of image_path: x,y,width,height in pixels of the upright image, or in "
        "percent, as in 10%,5%,50%,50%.",
    )
    top_k: int = Field(default=5, description="Number of hits, 1 to 1000.")
    mode: Literal["index", "exact", "rerank"] = Field(
        default="index",
        description="index: the vector index, with exact scores; exact: all nodes; rerank: all images, ranked "
        "with the help of their nearest neighbours.",
    )
    metric: Literal["cosine", "euclidean", "dot"] = Field(
        default="cosine", description="What ranks the hits; euclidean and dot need mode exact."
    )
    min_score: float | None = Field(default=None, description="Minimum raw cosine of a hit, -1 to 1.")
    label: str | None = Field(default=None, description="Label of the hits: the folder that they lie in themselves.")
    folder: str | None = Field(
        default=None, description="Folder that the hits lie in or below, such as photos/2024: a path in the library."
    )
    since: str | None = Field(
        default=None, description="Hits were taken on this date or later: 2024, 2024-05, 2024-05-31 10:20."
    )
    until: str | None = Field(
        default=None, description="Hits were taken on this date, or in this year or month, or earlier."
    )
    camera: str | None = Field(default=None, description="Camera of the hits, in upper or lower case.")
    exclude_self: bool = Field(default=True, description="Omit the query image itself if it is in the graph.")
    relations: bool = Field(default=False, description="Show the SIMILAR_TO relations of each hit.")


@dg.op(out=dg.Out(dict, description="The answer in the form of `imgret query --json`."))
def find_similar_images(
    context: dg.OpExecutionContext, config: SimilarityQuery, warehouse: WarehouseResource, neo4j: Neo4jResource
) -> dict:
    """Find the images of the graph that are similar to a query image, or to several together."""
    home = warehouse.open()
    query = Query(**config.model_dump(exclude={"image_path", "text", "less_text", "together", "less", "crop"})).check()
    path = _query_file(home, config)
    parts = query_parts(home, path, config)
    with neo4j.open(home) as database:
        answer = find_similar(home, parts, query, database=database)
    context.add_output_metadata(
        {
            "similar_images": dg.MetadataValue.md(answer_markdown(answer, path, home.images)),
            "on_the_page": dg.MetadataValue.url(page_link(home.settings.app_url, answer, query, parts)),
            "model": answer.model,
            "mode": answer.mode,
            "metric": answer.metric,
            "took_ms": answer.took_ms,
            "refreshing": answer.refreshing,
        }
    )
    return answer.as_json()


def query_parts(home: Home, path: ImageFile | None, config: SimilarityQuery) -> list[QueryPart]:
    """Return the parts of the query that a configuration describes, checked before the database is asked.

    Args:
        home: the home.
        path: the query image; None for a query that begins with words.
        config: what the query contains besides.

    Raises:
        ImageError: a file can't be read.
        QueryError: an image or text is on both sides, a text has too many characters, or there is a crop of no image.
        SettingError: the crop is no rectangle.
    """
    crop = None if config.crop is None else Crop.parse(config.crop)

    def read(file: ImageFile) -> QueryImage:
        return read_query(file, home.images, max_bytes=home.settings.max_bytes)

    text, less_text = (QueryText(words) if words else None for words in (config.text, config.less_text))
    if path is None and crop is not None:
        raise QueryError("The query has a crop and no image", remedy="set image_path")
    parts = [
        *([] if path is None else [QueryPart(read(path), crop=crop)]),
        *([] if text is None else [QueryPart(text)]),
        *(QueryPart(read(_named_file(name))) for name in config.together),
        *(QueryPart(read(_named_file(name)), less=True) for name in config.less),
        *([] if less_text is None else [QueryPart(less_text, less=True)]),
    ]
    check_parts(parts)
    return parts


def _query_file(home: Home, config: SimilarityQuery) -> ImageFile | None:
    """Return the file of the query image, an image of the home where nothing is named; None for words without it."""
    if config.image_path:
        return _named_file(config.image_path)
    return None if config.text else _example(home)


def _named_file(name: str) -> ImageFile:
    file = image_file_at(name)
    return file.expanduser() if isinstance(file, Path) else file


def _example(home: Home) -> ImageFile:
    """Return an image of the home.

    Raises:
        ImageError: no run has found a usable one yet.
    """
    path = find_example(home.warehouse)
    if path is None:
        raise ImageError(
            "The query names no image, and the home has none yet",
            remedy="set image_path, or launch the job refresh first",
        )
    return path


def page_link(app_url: str, answer: Answer, query: Query, parts: Sequence[QueryPart]) -> str:
    """Return the address of the same query on the web page; of its first view if an image is not in the library."""
    images = [part for part in parts if isinstance(part.source, QueryImage)]
    paths = [part.source.path for part in images if isinstance(part.source, QueryImage)]
    if len(images) == 1 and answer.query_paths:
        paths = answer.query_paths[:1]
    if None in paths or (images and not answer.query_paths):
        return app_url
    more, less = (
        [path for part, path in zip(images, paths, strict=True) if part.less is side] for side in (False, True)
    )
    texts = {part.less: part.source.text for part in parts if isinstance(part.source, QueryText)}
    parameters = {
        "image": more[0] if more else None,
        "text": texts.get(False),
        "less_text": texts.get(True),
        "more": more[1:],
        "less": less,
        "crop": images[0].crop if images else None,
        "k": query.top_k,
        "mode": query.mode,
        "min": query.min_score,
        "label": query.label,
        "folder": query.folder,
        "since": query.since,
        "until": query.until,
        "camera": query.camera,
    }
    values = {name: value for name, value in parameters.items() if value is not None}
    return f"{app_url}/?{urlencode(values, doseq=True)}"


def answer_markdown(answer: Answer, query: ImageFile | None, root: AnyRoot) -> str:
    """Return an answer as a Markdown table with thumbnails; rank scores and relations have columns if there are any."""

    def rank_score_cell(text: str) -> str:
        return f" {text} |" if any(hit.rank_score is not None for hit in answer.results) else ""

    def relations_cell(text: str) -> str:
        return f" {text} |" if any(hit.relations is not None for hit in answer.results) else ""

    lines = [
        f"**{escape(answer.parts[0]['name'])}**"
        if query is None
        else f"![query]({data_uri(query, THUMBNAIL_PIXELS)}) **{escape(query.name)}**",
        *_part_lines(answer.parts),
        "",
        "| | score |" + rank_score_cell("rank score") + " label | path |" + relations_cell("relations"),
        "|---|---|" + rank_score_cell("---") + "---|---|" + relations_cell("---"),
    ]
    for rank, hit in enumerate(answer.results):
        thumbnail = f"![hit]({data_uri(root / hit.path, THUMBNAIL_PIXELS)})" if rank < MAX_THUMBNAILS else ""
        # Dagster's UI shows no HTML in Markdown.
        relations = " · ".join(
            f"{score_text(relation.score)} {escape(relation.path)}" for relation in (hit.relations or ())[:10]
        )
        rank_score = rank_score_cell("" if hit.rank_score is None else score_text(hit.rank_score, 4))
        cells = (
            f"| {thumbnail} | {score_text(hit.score, 4)} |{rank_score} {escape(hit.label or '')} | {escape(hit.path)} |"
        )
        lines.append(cells + relations_cell(relations))
    if not answer.results:
        lines.append("| | | | no hits |")
    return "\n".join(lines)


def _part_lines(parts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for the crop of the first image and for each further part, the first images with thumbnails."""
    crops = [f"crop {escape(parts[0]['crop'])}"] if parts and "crop" in parts[0] else []
    lines = []
    for number, part in enumerate(parts[1:]):
        if "text" in part:
            lines.append(f"{'less' if part['less'] else 'more'} like the words **{escape(part['name'])}**")
            continue
        file = image_file_at(part["name"])
        thumbnail = f"![query]({data_uri(file, THUMBNAIL_PIXELS)}) " if number < MAX_QUERY_THUMBNAILS else ""
        lines.append(f"{thumbnail}{'less' if part['less'] else 'more'} like {escape(file.name)}")
    # A blank line before each, or Markdown joins them.
    return [text for line in (*crops, *lines) for text in ("", line)]


def escape(text: str) -> str:
    """Return the text with all characters escaped that mean something in Markdown."""
    special = "\\`*_{}[]<>()#+-!|~"
    return "".join(f"\\{char}" if char in special else " " if char in "\r\n" else char for char in text)
