"""The op that finds images similar to a query image, and its configuration.

Belongs here: `SimilarityQuery`, the op, the answer as Markdown. Not here: the search (`domain.search.find_similar`).
"""

from pathlib import Path
from typing import Literal
from urllib.parse import urlencode

import dagster as dg
from pydantic import Field

from imgret_assets.defs.resources.neo4j import Neo4jResource
from imgret_assets.defs.resources.warehouse import WarehouseResource
from imgret_assets.domain.images.contact_sheets import data_uri
from imgret_assets.domain.images.example_image import find_example
from imgret_assets.domain.search.find_similar import find_similar
from imgret_assets.domain.search.query import Answer, Query, read_query
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import ImageError
from imgret_assets.wording import score_text

THUMBNAIL_PIXELS = 96
# Dagster stores metadata in its event log, which more thumbnails would make too large.
MAX_THUMBNAILS = 16


class SimilarityQuery(dg.Config):
    """Configuration of a query."""

    image_path: str = Field(
        default="",
        description="Query image: a file on the machine that runs the job. If empty: an image of the home.",
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
    label: str | None = Field(default=None, description="Label (folder) of the hits.")
    exclude_self: bool = Field(default=True, description="Omit the query image itself if it is in the graph.")
    relations: bool = Field(default=False, description="Show the SIMILAR_TO relations of each hit.")


@dg.op(out=dg.Out(dict, description="The answer in the form of `imgret query --json`."))
def find_similar_images(
    context: dg.OpExecutionContext, config: SimilarityQuery, warehouse: WarehouseResource, neo4j: Neo4jResource
) -> dict:
    """Find the images of the graph that are similar to a query image."""
    home = warehouse.open()
    query = Query(**config.model_dump(exclude={"image_path"})).check()
    path = Path(config.image_path).expanduser() if config.image_path else _example(home)
    image = read_query(path, home.images, max_bytes=home.settings.max_bytes)
    with neo4j.open(home) as database:
        answer = find_similar(home, image, query, database=database)
    context.add_output_metadata(
        {
            "similar_images": dg.MetadataValue.md(answer_markdown(answer, path, home.images)),
            "on_the_page": dg.MetadataValue.url(page_link(home.settings.app_url, answer, query)),
            "model": answer.model,
            "mode": answer.mode,
            "metric": answer.metric,
            "took_ms": answer.took_ms,
            "refreshing": answer.refreshing,
        }
    )
    return answer.as_json()


def _example(home: Home) -> Path:
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


def page_link(app_url: str, answer: Answer, query: Query) -> str:
    """Return the address of the same query on the web page; of its first view if the image is not in the library."""
    if not answer.query_paths:
        return app_url
    parameters = {
        "image": answer.query_paths[0],
        "k": query.top_k,
        "mode": query.mode,
        "min": query.min_score,
        "label": query.label,
    }
    return f"{app_url}/?{urlencode({name: value for name, value in parameters.items() if value is not None})}"


def answer_markdown(answer: Answer, query: Path, root: Path) -> str:
    """Return an answer as a Markdown table with thumbnails; rank scores and relations have columns if there are any."""

    def rank_score_cell(text: str) -> str:
        return f" {text} |" if any(hit.rank_score is not None for hit in answer.results) else ""

    def relations_cell(text: str) -> str:
        return f" {text} |" if any(hit.relations is not None for hit in answer.results) else ""

    lines = [
        f"![query]({data_uri(query, THUMBNAIL_PIXELS)}) **{escape(query.name)}**",
        "",
        "| | score |" + rank_score_cell("rank score") + " label | path |" + relations_cell("relations"),
        "|---|---|" + rank_score_cell("---") + "---|---|" + relations_cell("---"),
    ]
    for rank, hit in enumerate(answer.results):
        thumbnail = f"![hit]({data_uri(root / hit.path, THUMBNAIL_PIXELS)})" if rank < MAX_THUMBNAILS else ""
        relations = "<br>".join(
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


def escape(text: str) -> str:
    """Return the text with all characters escaped that mean something in Markdown."""
    special = "\\`*_{}[]<>()#+-!|~"
    return "".join(f"\\{char}" if char in special else " " if char in "\r\n" else char for char in text)
