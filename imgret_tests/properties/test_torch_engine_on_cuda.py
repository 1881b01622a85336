"""The torch engine on a GPU; skipped where there is none."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from imgret_assets.domain.inference.torch_engine import TorchEmbedder
from imgret_assets.domain.models.resolution import Model, resolve
from imgret_assets.domain.numerics.vectors import unit_rows
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import ModelError
from imgret_tests.support.pictures import picture

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


@pytest.fixture
def model(home: Home) -> Model:
    return resolve(home, "efficientnet_lite0")


@pytest.fixture
def batch(model: Model) -> np.ndarray:
    prepare = model.space.preprocessing.resize_and_crop
    return np.stack([prepare(picture(seed, (320, 240))) for seed in range(40)])


def test_float32_on_a_gpu_gives_the_vectors_of_the_cpu(model: Model, batch: np.ndarray, tmp_path: Path) -> None:
    """Torch's own choice for convolutions, inputs of ten bits, would differ by 0.001."""
    expected = TorchEmbedder(model, tmp_path, device="cpu").embed(batch)
    vectors = TorchEmbedder(model, tmp_path, device="cuda").embed(batch)
    np.testing.assert_allclose(unit_rows(vectors), unit_rows(expected), rtol=0, atol=5e-6)


def test_vectors_are_the_same_bits_every_time_whatever_is_in_flight(
    model: Model, batch: np.ndarray, tmp_path: Path
) -> None:
    embedder = TorchEmbedder(model, tmp_path, device="cuda", batch_size=8)
    np.testing.assert_array_equal(embedder.embed(batch), embedder.embed(batch))


@pytest.fixture
def little_memory() -> Iterator[Callable[[float], None]]:
    """A limit of what torch may take on the GPU, in megabytes; lifted after the test."""

    def limit(megabytes: float) -> None:
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(megabytes * 2**20 / total)

    yield limit
    torch.cuda.set_per_process_memory_fraction(1.0)


def test_too_little_memory_halves_the_batch(
    model: Model, batch: np.ndarray, tmp_path: Path, little_memory: Callable[[float], None]
) -> None:
    expected = TorchEmbedder(model, tmp_path, device="cpu").embed(batch)
    embedder = TorchEmbedder(model, tmp_path, device="cuda", batch_size=40)
    embedder.load()
    little_memory(200)
    np.testing.assert_allclose(unit_rows(embedder.embed(batch)), unit_rows(expected), rtol=0, atol=5e-6)
    assert 1 <= embedder.batch_size < 40


def test_a_model_that_does_not_fit_is_an_error_with_the_remedy(
    model: Model, tmp_path: Path, little_memory: Callable[[float], None]
) -> None:
    little_memory(4)
    with pytest.raises(ModelError, match=r"efficientnet_lite0 needs more memory than cuda has free.*IMGRET_DEVICE=cpu"):
        TorchEmbedder(model, tmp_path, device="cuda").load()
