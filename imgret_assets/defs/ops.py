"""The op that answers "what looks like this?", and its configuration.

Belongs here: `SimilarityQuery`, the op, its answer as Markdown. Not here: finding (`domain.search.find_similar`).
"""

from pathlib import Path
from typing import Literal
from urllib.parse import urlencode

import dagster as dg
from pydantic import Field

from imgret_assets.defs.resources.neo4j import Neo4jResource
from imgret_assets.defs.resources.warehouse import WarehouseResource
from imgret_assets.domain.images.contact_sheets import data_uri
from imgret_assets.domain.search.find_similar import find_similar
from imgret_assets.domain.search.query import Answer, Query, read_query

THUMBNAIL_PIXELS = 96
# Dagster keeps metadata in its event log; more pictures than this make the log heavy.
MAX_THUMBNAILS = 16


class SimilarityQuery(dg.Config):
    """What is asked."""

    image_path: str = Field(description="The picture to ask with: a file on the machine that runs the job.")
    top_k: int = Field(default=5, description="Hits wanted, 1 to 1000.")
    mode: Literal["index", "exact", "rerank"] = Field(
        default="index",
        description="index: the vector index, scored again exactly; exact: every node; rerank: every image, ranked "
        "with the help of its nearest neighbours.",
    )
    metric: Literal["cosine", "euclidean", "dot"] = Field(
        default="cosine", description="What ranks the hits; any but cosine with mode exact."
    )
    min_score: float | None = Field(default=None, description="Hits have at least this raw cosine, -1 to 1.")
    label: str | None = Field(default=None, description="Hits have this label (their folder).")
    exclude_self: bool = Field(default=True, description="Leave the picture itself out, where it is in the graph.")
    relations: bool = Field(default=False, description="Show each hit's SIMILAR_TO relations, too.")


@dg.op(out=dg.Out(dict, description="The answer, as `imgret query --json` prints it."))
def find_similar_images(
    context: dg.OpExecutionContext, config: SimilarityQuery, warehouse: WarehouseResource, neo4j: Neo4jResource
) -> dict:
    """Find the images of the graph that look like one picture."""
    home = warehouse.open()
    query = Query(**config.model_dump(exclude={"image_path"})).check()
    image = read_query(Path(config.image_path).expanduser(), home.images)
    with neo4j.open(home) as database:
        answer = find_similar(home, image, query, database=database)
    context.add_output_metadata(
        {
            "similar_images": dg.MetadataValue.md(answer_markdown(answer, Path(config.image_path), home.images)),
            "on_the_page": dg.MetadataValue.url(page_link(home.settings.app_url, answer, query)),
            "model": answer.model,
            "mode": answer.mode,
            "metric": answer.metric,
            "took_ms": answer.took_ms,
            "refreshing": answer.refreshing,
        }
    )
    return answer.as_json()


def page_link(app_url: str, answer: Answer, query: Query) -> str:
    """Address of the same question on the page; of the page alone for a picture that is not in the library."""
    if not answer.itself:
        return app_url
    asked = {
        "image": answer.itself[0],
        "k": query.top_k,
        "mode": query.mode,
        "min": query.min_score,
        "label": query.label,
    }
    return f"{app_url}/?{urlencode({name: value for name, value in asked.items() if value is not None})}"


def answer_markdown(answer: Answer, query: Path, root: Path) -> str:
    """An answer as a Markdown table with thumbnails; columns of rank scores and relations where there are any."""

    def ranked(text: str) -> str:
        return f" {text} |" if any(hit.rank_score is not None for hit in answer.results) else ""

    def related(text: str) -> str:
        return f" {text} |" if any(hit.relations is not None for hit in answer.results) else ""

    lines = [
        f"![query]({data_uri(query, THUMBNAIL_PIXELS)}) **{escape(query.name)}**",
        "",
        "| | score |" + ranked("rank score") + " label | path |" + related("relations"),
        "|---|---|" + ranked("---") + "---|---|" + related("---"),
    ]
    for rank, hit in enumerate(answer.results):
        picture = f"![hit]({data_uri(root / hit.path, THUMBNAIL_PIXELS)})" if rank < MAX_THUMBNAILS else ""
        relations = "<br>".join(
            f"{relation.score:.3f} {escape(relation.path)}" for relation in (hit.relations or ())[:10]
        )
        rank_score = ranked("" if hit.rank_score is None else f"{hit.rank_score:.4f}")
        cells = f"| {picture} | {hit.score:.4f} |{rank_score} {escape(hit.label or '')} | {escape(hit.path)} |"
        lines.append(cells + related(relations))
    if not answer.results:
        lines.append("| | | | nothing was found |")
    return "\n".join(lines)


def escape(text: str) -> str:
    """Text that Markdown shows as it is."""
    special = "\\`*_{}[]<>()#+-!|~"
    return "".join(f"\\{char}" if char in special else " " if char in "\r\n" else char for char in text)
