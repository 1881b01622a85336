import numpy as np
import pytest

from imgret_assets.domain.search import query_embedding
from imgret_assets.domain.search.query import QueryImage
from imgret_assets.domain.search.query_embedding import embed_image, query_embedder
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import ImageError, ModelError
from imgret_tests.support.fake_model import FakeEmbedder
from imgret_tests.support.pictures import picture_bytes


def test_a_query_that_is_no_image_is_an_error_with_the_reason() -> None:
    image = QueryImage("upload.jpg", b"no image")
    with pytest.raises(ImageError, match=r"upload\.jpg can't be used as a query: not_an_image \(its first bytes"):
        embed_image(FakeEmbedder(), image, max_pixels=1000)
    with pytest.raises(ImageError, match="too_large"):
        embed_image(FakeEmbedder(), QueryImage("big.png", picture_bytes(1)), max_pixels=1000)


def test_a_query_without_a_direction_is_an_error() -> None:
    class ZeroEmbedder(FakeEmbedder):
        def embed(self, batch: np.ndarray) -> np.ndarray:
            return np.zeros((len(batch), 48), dtype=np.float32)

    with pytest.raises(ModelError, match=r"fake .*zero or non-finite vector"):
        embed_image(ZeroEmbedder(), QueryImage("a.png", picture_bytes(1)), max_pixels=10_000)


def test_an_embedder_is_made_once_for_each_space(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    resolved: list[str] = []

    def resolve_space(_: Home, space: str) -> str:
        resolved.append(space)
        return space

    monkeypatch.setattr(query_embedding, "resolve_space", resolve_space)
    monkeypatch.setattr(query_embedding, "choose_embedder", lambda *_, **__: FakeEmbedder())
    first = query_embedder(home, "a-1")
    assert query_embedder(home, "a-1") is first
    assert query_embedder(home, "b-1") is not first
    assert resolved == ["a-1", "b-1"]
