"""What callers of every embedder share: refused options, and the vector of one image."""

import pickle
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imgret_assets.domain.inference.embedder import check_choices, embed_one
from imgret_assets.domain.inference.openvino_engine import OpenVinoEmbedder
from imgret_assets.domain.inference.torch_engine import TorchEmbedder
from imgret_assets.domain.models.resolution import resolve
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import ModelError, SettingError
from imgret_tests.support.fake_model import FakeEmbedder
from imgret_tests.support.pictures import picture


@pytest.mark.parametrize(
    ("precision", "batch_size", "message"),
    [
        ("int8", 8, "precision is 'int8'. Expected: auto or float32 or bfloat16 or float16"),
        ("auto", 0, "batch_size is 0. Expected: at least 1"),
    ],
)
def test_options_that_no_engine_has_are_refused(precision: str, batch_size: int, message: str) -> None:
    with pytest.raises(SettingError) as problem:
        check_choices(precision, batch_size)
    assert message in str(problem.value)


def test_the_vector_of_one_image_is_that_of_a_batch() -> None:
    embedder = FakeEmbedder()
    vector = embed_one(embedder, picture(1))
    assert vector.shape == (48,)
    batch = np.stack([embedder.prepare(picture(seed)) for seed in range(2)])
    np.testing.assert_array_equal(vector, embedder.embed(batch)[1])


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_one_image_without_a_usable_vector_is_an_error(value: float) -> None:
    class Unusable(FakeEmbedder):
        def embed(self, batch: np.ndarray) -> np.ndarray:
            return np.full((len(batch), 48), value, np.float32)

    with pytest.raises(ModelError, match=r"fake gives this image a zero or non-finite vector.*use another model"):
        embed_one(Unusable(), Image.new("RGB", (9, 9)))


@pytest.mark.parametrize(("kind", "device"), [(OpenVinoEmbedder, {}), (TorchEmbedder, {"device": "cpu"})])
def test_an_engine_reaches_another_process_unloaded(home: Home, kind: Any, device: dict[str, str]) -> None:
    model = resolve(home, "efficientnet_lite0")
    embedder = kind(model, home.path / "models", precision="float32", batch_size=7, **device)
    sent = pickle.dumps(embedder)
    assert len(sent) < 10_000
    again = pickle.loads(sent)  # noqa: S301
    assert (type(again), again.model, again.folder, again.batch_size) == (kind, model, home.path / "models", 7)
    assert again.requested_precision == "float32"
    assert not again.loaded
