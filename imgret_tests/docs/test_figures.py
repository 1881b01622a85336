"""The figures in the documentation's sentences are the constants of the code."""

import re

import pytest

from imgret_assets.app.components import map_canvas
from imgret_assets.app.graph_chart import neighbourhood
from imgret_assets.domain.analysis import calibration, clustering
from imgret_assets.domain.duplicates import confirmation, duplicate_search, enlargement, fingerprints, keepers
from imgret_assets.domain.models import embedding_space
from imgret_assets.domain.search import find_similar, query
from imgret_assets.domain.similarity import neighbours_table, query_expansion
from imgret_assets.locations import PROJECT
from imgret_assets.settings import MAX_SHARDS
from imgret_tests.support.docs_commands import page_text

# Page, a sentence with its figure in parentheses, and the constant.
FIGURES = [
    ("guide/queries.md", r"(\d+) for each requested hit", find_similar.CANDIDATES_PER_HIT),
    ("guide/queries.md", r"requested hit, at least (\d+),", find_similar.MIN_CANDIDATES),
    ("guide/queries.md", r"number of hits, 1 to ([\d,]+)", query.MAX_TOP_K),
    ("guide/queries.md", r"models of more than ([\d,]+) dimensions", embedding_space.MAX_INDEXED_DIM),
    ("guide/models.md", r"indexes at most ([\d,]+) dimensions", embedding_space.MAX_INDEXED_DIM),
    ("reference/graph.md", r"models of up to ([\d,]+) dimensions", embedding_space.MAX_INDEXED_DIM),
    ("guide/duplicates.md", r"differ in at most (\d+) bits", keepers.RADIUS_BITS),
    ("guide/duplicates.md", r"differ by at most (\d+) of 255 levels", fingerprints.MAX_GREY_LEVELS),
    ("guide/duplicates.md", r"at least ([\d.]+) times as long on both sides", enlargement.MIN_FACTOR),
    ("guide/duplicates.md", r"correlate by at least ([\d.]+) at", duplicate_search.MIN_CORRELATION),
    (
        "guide/duplicates.md",
        r"proportions differ by a factor of at most ([\d.]+)",
        round(duplicate_search.MAX_SQUEEZE, 2),
    ),
    ("guide/duplicates.md", r"until (\d+) in a row are no near-duplicates", duplicate_search.MAX_MISSES),
    ("guide/duplicates.md", r"at most (\d+) pixels long", confirmation.COMPARED_SIDE),
    ("guide/groups.md", r"averaged with its (\d+) nearest", query_expansion.GROUPING_NEIGHBOURS),
    ("guide/groups.md", r"one is among the (\d+) nearest", neighbours_table.KEPT),
    ("guide/groups.md", r"at least (\d+) percent of the way", 100 * clustering.LINKED_FROM),
    ("guide/thresholds.md", r"Up to ([\d,]+) images, all pairs", calibration.EXACT_IMAGES),
    ("guide/thresholds.md", r"larger collections, ([\d,]+) images", calibration.SAMPLED_IMAGES),
    ("guide/page.md", r"most (\d+) (?:pictures|images) are", neighbourhood.MAX_NODES),
    ("guide/page.md", r"at most ([\d,]+) images in view", map_canvas.THUMBNAILS_FROM),
    ("guide/page.md", r"up to (\d+) of them are drawn as thumbnails", map_canvas.MAX_THUMBNAILS),
    ("operate/settings.md", r"partitions, 1 to (\d+)", MAX_SHARDS),
]


@pytest.mark.parametrize(("page", "sentence", "constant"), FIGURES, ids=[f"{page}: {s}" for page, s, _ in FIGURES])
def test_a_figure_is_the_constant(page: str, sentence: str, constant: float) -> None:
    text = " ".join(page_text(PROJECT / "docs" / page).split())
    figures = re.findall(sentence, text)
    assert figures, f"no sentence of {page} is like {sentence!r}: change the list with the page"
    assert {float(figure.replace(",", "")) for figure in figures} == {constant}
