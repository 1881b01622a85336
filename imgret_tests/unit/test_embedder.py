"""The embedder that runs torch, on a network small enough to work out by hand."""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from imgret_assets.domain import embedder as embedder_module
from imgret_assets.domain.embedder import TorchEmbedder, choose_device, embed_one, stack
from imgret_assets.domain.models import EmbeddingSpace, Model, Preprocessing
from imgret_assets.errors import ModelError, SettingError
from imgret_tests.fake_model import FakeEmbedder
from imgret_tests.pictures import picture

SPACE = EmbeddingSpace("tiny", "0" * 64, Preprocessing((4, 6), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)), 3)


class Means(torch.nn.Module):
    """The mean of each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(3))
        self.formats: list[bool] = []

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        self.formats.append(batch.is_contiguous(memory_format=torch.channels_last))
        return batch.mean(dim=(2, 3)) * self.scale


class TinyModel(Model):
    """A model whose network is at hand; counts how often it is built."""

    built = 0

    def build(self) -> torch.nn.Module:
        type(self).built += 1
        return Means().eval()


@pytest.fixture
def embedder() -> TorchEmbedder:
    TinyModel.built = 0
    return TorchEmbedder(TinyModel(SPACE, None), device="cpu")


def batch_of(embedder: TorchEmbedder, count: int) -> np.ndarray:
    return stack([embedder.prepare(picture(seed)) for seed in range(count)])


def test_vectors_are_the_network_s_outputs(embedder: TorchEmbedder) -> None:
    batch = batch_of(embedder, 5)
    assert batch.shape == (5, 3, 4, 6)
    vectors = embedder.embed(batch)
    assert (vectors.shape, vectors.dtype) == ((5, 3), np.float32)
    np.testing.assert_allclose(vectors, batch.mean(axis=(2, 3)), atol=1e-6)


def test_a_batch_of_one_keeps_its_axis(embedder: TorchEmbedder) -> None:
    assert embedder.embed(batch_of(embedder, 1)).shape == (1, 3)


def test_a_picture_has_the_same_vector_in_every_batch(embedder: TorchEmbedder) -> None:
    alone = np.concatenate([embedder.embed(batch_of(embedder, 5)[row : row + 1]) for row in range(5)])
    np.testing.assert_allclose(alone, embedder.embed(batch_of(embedder, 5)), atol=1e-6)


def test_the_model_is_built_once_and_only_when_used(embedder: TorchEmbedder) -> None:
    assert embedder.space is SPACE
    embedder.prepare(picture(1))
    assert (embedder.loaded, TinyModel.built) == (False, 0)
    embedder.embed(batch_of(embedder, 2))
    embedder.embed(batch_of(embedder, 2))
    assert (embedder.loaded, TinyModel.built) == (True, 1)


def test_pictures_are_prepared_by_several_threads(embedder: TorchEmbedder) -> None:
    found: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: found.append(embedder.prepare(picture(1)))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == 8
    assert all(np.array_equal(one, found[0]) for one in found)


def test_the_engine_names_device_and_precision(embedder: TorchEmbedder) -> None:
    assert embedder.engine == "torch-cpu-float32"
    assert TorchEmbedder(TinyModel(SPACE, None), device="cpu", precision="bfloat16").engine == "torch-cpu-bfloat16"


def test_bfloat16_stays_near(embedder: TorchEmbedder) -> None:
    fast = TorchEmbedder(TinyModel(SPACE, None), device="cpu", precision="bfloat16")
    batch = batch_of(embedder, 4)
    vectors = fast.embed(batch)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, embedder.embed(batch), atol=0.02)


def test_vectors_of_another_length_than_the_space_s_are_refused() -> None:
    wrong = EmbeddingSpace("tiny", "0" * 64, SPACE.preprocessing, 4)
    embedder = TorchEmbedder(TinyModel(wrong, None), device="cpu")
    with pytest.raises(ModelError, match=r"tiny gave an array of shape \(2, 3\). Expected: \(2, 4\)"):
        embedder.embed(batch_of(embedder, 2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "float16"}, "precision is 'float16'. Expected: float32 or bfloat16"),
        ({"batch_size": 0}, "batch_size is 0. Expected: at least 1"),
    ],
)
def test_wrong_options_are_refused_at_once(options: dict[str, str | int], message: str) -> None:
    with pytest.raises(SettingError) as problem:
        TorchEmbedder(TinyModel(SPACE, None), **options)  # type: ignore[arg-type]
    assert message in str(problem.value)


@pytest.mark.parametrize(
    ("cuda", "mps", "asked", "chosen"),
    [
        (True, True, "auto", "cuda"),
        (False, True, "auto", "mps"),
        (False, False, "auto", "cpu"),
        (True, False, "cpu", "cpu"),
        (True, False, "cuda", "cuda"),
    ],
)
def test_the_device(monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, asked: str, chosen: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert choose_device(asked) == chosen


@pytest.mark.parametrize("asked", ["cuda", "mps", "tpu"])
def test_a_device_that_is_not_there_is_an_error_with_the_remedy(monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    message = f"The device '{asked}' is not available on this machine. Expected: one of cpu. .*IMGRET_DEVICE=auto"
    with pytest.raises(ModelError, match=message):
        choose_device(asked)


def test_torch_is_asked_for_its_device_only_when_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedder_module, "choose_device", lambda _: pytest.fail("it was asked"))
    embedder = TorchEmbedder(TinyModel(SPACE, Path("w.pth")), device="auto")
    assert embedder.space.id.startswith("tiny-")


def test_one_picture_alone(embedder: TorchEmbedder) -> None:
    vector = embed_one(embedder, picture(1))
    assert vector.shape == (3,)
    np.testing.assert_array_equal(vector, embedder.embed(batch_of(embedder, 2)[1:])[0])


def test_one_picture_without_a_direction_is_an_error() -> None:
    class Zero(FakeEmbedder):
        def embed(self, batch: np.ndarray) -> np.ndarray:
            return np.zeros((len(batch), 48), np.float32)

    with pytest.raises(ModelError, match=r"fake gives this picture a zero or non-finite vector.*use another model"):
        embed_one(Zero(), Image.new("RGB", (9, 9)))
