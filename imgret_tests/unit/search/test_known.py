import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imgret_assets.domain.graph import cypher
from imgret_assets.domain.graph.graph_state import GraphState
from imgret_assets.domain.inference.embedder import embed_one
from imgret_assets.domain.search import find_similar
from imgret_assets.domain.search.known import Checked, check_known
from imgret_assets.domain.search.query import QueryImage
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import ImageError, SettingError
from imgret_tests.support.canned import CannedDatabase
from imgret_tests.support.fake_model import FakeEmbedder
from imgret_tests.support.photos import photo

STATE = GraphState("home", "/images", "fake-1", 48, 0.8, "ready")


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def library(home: Home, monkeypatch: pytest.MonkeyPatch) -> CannedDatabase:
    """Three photos, of which the third has no file any more, and a copy of the first."""
    monkeypatch.setattr(find_similar, "query_embedder", lambda _home, _space: FakeEmbedder())
    images = {"one.png": photo(1), "two.png": photo(2), "gone.png": photo(3), "copy.png": photo(1)}
    for path in ("one.png", "two.png", "copy.png"):
        home.images.local(path).write_bytes(png(images[path]))
    contents = {path: QueryImage(path, png(image)).sha256 for path, image in images.items()}
    rows = [
        {"path": path, "label": None, "sha256": contents[path], "embedding": vector_of(image)}
        for path, image in images.items()
    ]

    def images_of_contents(parameters: dict[str, Any]) -> list[dict[str, Any]]:
        (wanted,) = parameters["contents"]
        found = sorted((row for row in rows if row["sha256"] == wanted), key=lambda row: row["path"])
        return [
            {"sha256": wanted, "paths": [row["path"] for row in found], "embedding": row["embedding"]}
            for row in found[:1]
        ]

    return CannedDatabase(
        {
            cypher.READ_STATE: [STATE.__dict__],
            cypher.IMAGES_OF_CONTENTS: images_of_contents,
            cypher.SHOW_VECTOR_INDEXES: [],
            cypher.NEAREST_OF_ALL_GDS: rows,
        }
    )


def vector_of(image: Image.Image) -> list[float]:
    return embed_one(FakeEmbedder(), image).tolist()


def test_the_same_bytes_are_known_as_the_first_path(home: Home, library: CannedDatabase) -> None:
    image = QueryImage("card/mine.png", png(photo(1)))
    assert check_known(home, image, database=library) == Checked("card/mine.png", "copy.png", "exact", 1.0)


def test_a_file_of_the_library_is_known_as_its_copies_only(home: Home, library: CannedDatabase) -> None:
    one = QueryImage("one.png", png(photo(1)), "one.png")
    assert check_known(home, one, database=library).known_as == "copy.png"
    two = check_known(home, QueryImage("two.png", png(photo(2)), "two.png"), database=library)
    assert (two.known_as, two.kind) == (None, None)


def test_a_smaller_copy_is_a_near_duplicate_of_a_file_that_is_there(home: Home, library: CannedDatabase) -> None:
    found = check_known(home, QueryImage("small.png", png(photo(2).resize((320, 240)))), database=library)
    assert (found.known_as, found.kind) == ("two.png", "near")
    assert found.score == pytest.approx(1, abs=0.01)
    # Its pixels can't be compared.
    gone = check_known(home, QueryImage("small.png", png(photo(3).resize((320, 240)))), database=library)
    assert gone.kind is None


def test_another_image_is_new_unless_its_score_counts(home: Home, library: CannedDatabase) -> None:
    image = QueryImage("new.png", png(photo(9)))
    new = check_known(home, image, database=library)
    vectors = [vector_of(photo(seed)) for seed in (1, 2, 3, 9)]
    unit = np.array(vectors) / np.linalg.norm(vectors, axis=1, keepdims=True)
    best = float((unit[:3] @ unit[3]).max())
    assert (new.known_as, new.kind, new.score) == (None, None, pytest.approx(best, abs=1e-6))
    similar = check_known(home, image, database=library, min_score=best - 1e-3)
    assert similar.kind == "similar"
    assert check_known(home, image, database=library, min_score=best + 1e-3).kind is None


def test_an_empty_library_knows_nothing(home: Home, library: CannedDatabase) -> None:
    library.answers[cypher.NEAREST_OF_ALL_GDS] = []
    assert check_known(home, QueryImage("new.png", png(photo(9))), database=library) == Checked("new.png")


def test_a_file_that_is_no_image_and_a_score_out_of_range_are_errors(home: Home, library: CannedDatabase) -> None:
    with pytest.raises(ImageError, match=r"notes\.txt can't be used"):
        check_known(home, QueryImage("notes.txt", b"no image"), database=library)
    with pytest.raises(SettingError, match="min_score is 2"):
        check_known(home, QueryImage("new.png", png(photo(9))), database=library, min_score=2)
