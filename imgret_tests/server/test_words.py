"""A graph of a model with a text tower, asked by words: by the search, the query job and the page.

Belongs here: the path from words to hits in a real database. Not here: the towers themselves
(`unit/models/families/test_openclip_models.py`, `unit/inference/test_text_engine.py`), the page's field over a fake
search (`app/test_search_page.py`).
"""

from typing import Any

import numpy as np
import open_clip
import pandas as pd
import pytest
import torch
from neo4j import Driver

from imgret_assets.defs.jobs import QUERY
from imgret_assets.domain.inference.engine_selection import choose_embedder
from imgret_assets.domain.models.resolution import record_space
from imgret_assets.domain.search.query_parts import LESS_SHARE
from imgret_tests.support.chain import QUIET, Chain, cosine
from imgret_tests.support.fake_search import page_test
from imgret_tests.support.graph_fixtures import chain_on, refresh_with
from imgret_tests.support.neo4j_server import TestedServer
from imgret_tests.support.pictures import write_pictures
from imgret_tests.support.tiny_clip import make_tiny_clip

pytestmark = pytest.mark.server

WORDS, LESS = "a red car in a forest", "a drawing"


@pytest.fixture(scope="module")
def chain(shared_database: Driver, tested_server: TestedServer, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """A home of eight pictures whose vectors are those of a tiny model with both towers."""
    folder = tmp_path_factory.mktemp("words")
    chain = chain_on(tested_server, folder)
    write_pictures(chain.root, 8, families=3)
    name = make_tiny_clip(folder / "tiny")
    model = record_space(chain.home, name)
    chain.home.update(model=name)
    refresh_with(chain.settings, choose_embedder(chain.home, model, device="cpu"))
    return chain


def stored(chain: Chain) -> dict[str, np.ndarray]:
    """Return the stored vectors by path."""
    rows = pd.read_parquet(chain.settings.home / "warehouse" / "embeddings")
    return dict(zip(rows["path"], rows["embedding"], strict=True))


@pytest.fixture(scope="module")
def expected(chain: Chain) -> list[tuple[str, float]]:
    """The paths and scores that open_clip's own text tower gives, best first."""
    create: Any = open_clip.create_model_from_pretrained
    folder = str(chain.home.record.model).removeprefix("openclip:")
    original, _ = create(folder)
    with torch.inference_mode():
        more, less = (
            (vector / np.linalg.norm(vector))
            for vector in original.eval().encode_text(open_clip.get_tokenizer(folder)([WORDS, LESS])).numpy()
        )
    query = more - LESS_SHARE * less
    return sorted(((path, cosine(query, vector)) for path, vector in stored(chain).items()), key=lambda hit: -hit[1])


def test_the_query_job_answers_words(chain: Chain, expected: list[tuple[str, float]]) -> None:
    config = {"text": WORDS, "less_text": LESS, "top_k": 4}
    result = chain.definitions.resolve_job_def(QUERY).execute_in_process(
        {"ops": {"find_similar_images": {"config": config}}, **QUIET}
    )
    answer = result.output_for_node("find_similar_images")
    assert [hit["path"] for hit in answer["results"]] == [path for path, _ in expected[:4]]
    scores = [hit["score"] for hit in answer["results"]]
    np.testing.assert_allclose(scores, [score for _, score in expected[:4]], rtol=0, atol=1e-4)


def test_the_page_answers_words(
    chain: Chain, expected: list[tuple[str, float]], tested_server: TestedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = tested_server.connection
    for name, value in {
        "IMGRET_HOME": chain.settings.home,
        "IMGRET_IMAGES": chain.root,
        "IMGRET_SHARDS": 4,
        "NEO4J_URI": found.uri,
        "NEO4J_USERNAME": found.username,
        "NEO4J_PASSWORD": found.password,
    }.items():
        monkeypatch.setenv(name, str(value))
    page = page_test("search")
    page.run()
    page.text_input(key="text").input(WORDS).run()
    page.text_input(key="less_text").input(LESS).run()
    assert not page.exception
    assert not page.error
    shown = " ".join(markdown.value for markdown in page.markdown)
    assert f"#1 · **{expected[0][1]:.3f}**" in shown
    [words] = [text.value for text in page.text if text.value == WORDS]
    assert words
