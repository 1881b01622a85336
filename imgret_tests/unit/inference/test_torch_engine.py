"""The engine that runs torch, on a network small enough to work out by hand, on the CPU.

What is particular to GPUs (pinned memory, events) can't run here; sharing out, halving and proving take the same path.
"""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from imgret_assets.domain.inference import engine_agreement, torch_engine
from imgret_assets.domain.inference.embedder import embed_one
from imgret_assets.domain.inference.torch_engine import TorchEmbedder, choose_device, is_out_of_memory
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.models.preprocessing import Preprocessing
from imgret_assets.domain.models.resolution import Model
from imgret_assets.errors import ModelError, SettingError
from imgret_tests.support.fake_model import FakeEmbedder
from imgret_tests.support.pictures import picture

SPACE = EmbeddingSpace("tiny", "0" * 64, Preprocessing((4, 6), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)), 3)


class Means(torch.nn.Module):
    """The mean of each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(3))

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
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
    return np.stack([embedder.prepare(picture(seed)) for seed in range(count)])


def test_vectors_are_the_network_s_outputs(embedder: TorchEmbedder) -> None:
    batch = batch_of(embedder, 5)
    assert (batch.shape, batch.dtype) == ((5, 4, 6, 3), np.uint8)
    vectors = embedder.embed(batch)
    assert (vectors.shape, vectors.dtype) == ((5, 3), np.float32)
    np.testing.assert_allclose(vectors, (batch / 255.0 - 0.5).mean(axis=(1, 2)) / 0.5, atol=1e-6)


def test_none_are_none(embedder: TorchEmbedder) -> None:
    assert embedder.embed(np.empty((0, 4, 6, 3), np.uint8)).shape == (0, 3)


def test_the_network_gets_its_channels_last(monkeypatch: pytest.MonkeyPatch, embedder: TorchEmbedder) -> None:
    seen: list[bool] = []
    real = Means.forward

    def forward(self: Means, batch: torch.Tensor) -> torch.Tensor:
        seen.append(batch.is_contiguous(memory_format=torch.channels_last))
        return real(self, batch)

    monkeypatch.setattr(Means, "forward", forward)
    embedder.embed(batch_of(embedder, 3))
    assert seen == [True]


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
        ({"precision": "int8"}, "precision is 'int8'. Expected: auto or float32 or bfloat16 or float16"),
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
    monkeypatch.setattr(torch_engine, "choose_device", lambda _: pytest.fail("it was asked"))
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


# Streams, several devices, too little memory


class Greedy(torch.nn.Module):
    """The mean of each channel, as long as no more than `room` pictures come at once."""

    def __init__(self, room: int, words: str) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(3))
        self.room = room
        self.words = words

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        SEEN.append(len(batch))
        if len(batch) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory") if not self.words else RuntimeError(self.words)
        return batch.mean(dim=(2, 3)) * self.scale


SEEN: list[int] = []


def greedy(room: int, words: str = "", batch_size: int = 8) -> TorchEmbedder:
    SEEN.clear()

    class GreedyModel(Model):
        def build(self) -> torch.nn.Module:
            return Greedy(room, words).eval()

    return TorchEmbedder(GreedyModel(SPACE, None), device="cpu", batch_size=batch_size)


@pytest.mark.parametrize("words", ["", "MPS backend out of memory (MPS allocated: 9 GB)", "can't allocate memory"])
def test_too_little_memory_halves_the_batch_and_goes_on(embedder: TorchEmbedder, words: str) -> None:
    tight = greedy(3, words)
    batch = batch_of(embedder, 20)
    np.testing.assert_allclose(tight.embed(batch), embedder.embed(batch), atol=1e-6)
    assert tight.batch_size == 2
    assert [8, 4, 2, 2, 4, 2, 2, *[2] * 6] == SEEN


def test_a_picture_that_does_not_fit_alone_is_an_error_with_the_remedy(embedder: TorchEmbedder) -> None:
    with pytest.raises(ModelError, match=r"tiny needs more memory for one picture than cpu has.*IMGRET_DEVICE=cpu"):
        greedy(0).embed(batch_of(embedder, 4))


def test_any_other_error_is_not_taken_for_memory(embedder: TorchEmbedder) -> None:
    with pytest.raises(RuntimeError, match="something else"):
        greedy(0, "something else").embed(batch_of(embedder, 4))
    assert not is_out_of_memory(RuntimeError("something else"))


@pytest.mark.parametrize("count", [1, 7, 8, 40])
def test_several_devices_share_the_batches(embedder: TorchEmbedder, count: int) -> None:
    shared = TorchEmbedder(TinyModel(SPACE, None), device="cpu", devices=["cpu", "cpu", "cpu"], batch_size=4)
    batch = batch_of(embedder, count)
    np.testing.assert_allclose(shared.embed(batch), embedder.embed(batch), atol=1e-6)
    networks = {id(lane._network) for lane in shared._lanes}
    assert len(networks) == 3


def test_a_stream_gives_each_key_its_vector_and_takes_no_more_than_it_has_room_for(embedder: TorchEmbedder) -> None:
    taken = 0
    batch = batch_of(embedder, 12)

    def pictures():
        nonlocal taken
        for number in range(96):
            taken += 1
            yield str(number), batch[number % 12]

    small = TorchEmbedder(TinyModel(SPACE, None), device="cpu", batch_size=4)
    stream = small.stream(pictures())
    expected = embedder.embed(batch)
    key, vector = next(stream)
    assert taken <= 4 * 4
    np.testing.assert_allclose(vector, expected[int(key) % 12], atol=1e-6)
    rest = dict(stream)
    assert sorted(map(int, [key, *rest])) == list(range(96))
    for name, one in rest.items():
        np.testing.assert_allclose(one, expected[int(name) % 12], atol=1e-6)
    assert small.forward_s > 0


# The proof


def test_another_precision_proves_that_it_agrees_and_says_how_far(embedder: TorchEmbedder, tmp_path: Path) -> None:
    fast = TorchEmbedder(TinyModel(SPACE, None), folder=tmp_path, device="cpu", precision="bfloat16")
    fast.embed(batch_of(embedder, 1))
    ((key, found),) = engine_agreement.known_agreements(tmp_path / SPACE.id).items()
    assert key.startswith("torch-cpu-bfloat16 ")
    assert 0.9999 <= found.least_cosine <= 1.0
    assert 0.0 <= found.largest_score_change < 0.01


def test_a_wrong_constant_in_the_engine_is_refused(
    embedder: TorchEmbedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = torch_engine._Lane.start

    def start(self, keys, pixels):
        self._mean = self._mean * 0 + 120.0
        return real(self, keys, pixels)

    monkeypatch.setattr(torch_engine._Lane, "start", start)
    wrong = TorchEmbedder(TinyModel(SPACE, None), folder=tmp_path, device="cpu", precision="bfloat16")
    with pytest.raises(ModelError, match=r"vectors of tiny by torch-cpu-bfloat16 .* have a cosine of .* to torch's"):
        wrong.embed(batch_of(embedder, 1))
    assert not wrong.loaded


def test_auto_takes_float32_where_less_does_not_agree(
    embedder: TorchEmbedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TorchEmbedder, "_precisions", lambda _: ["bfloat16", "float32"])
    monkeypatch.setattr(engine_agreement, "MIN_AGREEMENT", 1.1)
    careful = TorchEmbedder(TinyModel(SPACE, None), folder=tmp_path, device="cpu", precision="auto")
    assert careful.engine == "torch-cpu-float32"
    monkeypatch.setattr(engine_agreement, "MIN_AGREEMENT", 0.9)
    quick = TorchEmbedder(TinyModel(SPACE, None), folder=tmp_path, device="cpu", precision="auto")
    assert quick.engine == "torch-cpu-bfloat16"
