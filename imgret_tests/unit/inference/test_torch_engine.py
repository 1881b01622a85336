"""The torch engine on the CPU, with a network small enough to compute by hand.

What only GPUs have (pinned memory, events) is in `properties/test_torch_engine_on_cuda.py`; sharing batches, halving
them and the proof take the same path.
"""

import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from imgret_assets.domain.inference import engine_agreement, torch_engine
from imgret_assets.domain.inference.engine_agreement import reference_vectors
from imgret_assets.domain.inference.torch_engine import TorchEmbedder, choose_device
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.models.preprocessing import Preprocessing
from imgret_assets.domain.models.resolution import Model
from imgret_assets.errors import ModelError, SettingError
from imgret_tests.support.agreement_records import recorded_agreements
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
def embedder(tmp_path: Path) -> TorchEmbedder:
    TinyModel.built = 0
    return TorchEmbedder(TinyModel(SPACE, None), tmp_path, device="cpu")


def batch_of(embedder: TorchEmbedder, count: int) -> np.ndarray:
    return np.stack([embedder.prepare(picture(seed)) for seed in range(count)])


def test_vectors_are_the_network_s_outputs(embedder: TorchEmbedder) -> None:
    batch = batch_of(embedder, 5)
    assert (batch.shape, batch.dtype) == ((5, 4, 6, 3), np.uint8)
    vectors = embedder.embed(batch)
    assert (vectors.shape, vectors.dtype) == ((5, 3), np.float32)
    np.testing.assert_allclose(vectors, (batch / 255.0 - 0.5).mean(axis=(1, 2)) / 0.5, atol=1e-6)


def test_an_empty_batch_gives_no_vectors(embedder: TorchEmbedder) -> None:
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


def test_an_image_has_the_same_vector_in_every_batch(embedder: TorchEmbedder) -> None:
    alone = np.concatenate([embedder.embed(batch_of(embedder, 5)[row : row + 1]) for row in range(5)])
    np.testing.assert_allclose(alone, embedder.embed(batch_of(embedder, 5)), atol=1e-6)


def test_the_model_is_built_once_and_only_when_used(embedder: TorchEmbedder) -> None:
    assert embedder.space is SPACE
    embedder.prepare(picture(1))
    assert (embedder.loaded, TinyModel.built) == (False, 0)
    embedder.embed(batch_of(embedder, 2))
    embedder.embed(batch_of(embedder, 2))
    assert (embedder.loaded, TinyModel.built) == (True, 1)


def test_several_threads_prepare_images(embedder: TorchEmbedder) -> None:
    prepared: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: prepared.append(embedder.prepare(picture(1)))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(prepared) == 8
    assert all(np.array_equal(pixels, prepared[0]) for pixels in prepared)


def test_the_engine_names_device_and_precision(embedder: TorchEmbedder) -> None:
    assert embedder.engine == "torch-cpu-float32"
    assert (
        TorchEmbedder(TinyModel(SPACE, None), embedder.folder, device="cpu", precision="bfloat16").engine
        == "torch-cpu-bfloat16"
    )


def test_bfloat16_stays_near(embedder: TorchEmbedder) -> None:
    fast = TorchEmbedder(TinyModel(SPACE, None), embedder.folder, device="cpu", precision="bfloat16")
    batch = batch_of(embedder, 4)
    vectors = fast.embed(batch)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, embedder.embed(batch), atol=0.02)


def test_vectors_of_another_length_than_the_space_s_are_refused(tmp_path: Path) -> None:
    wrong = EmbeddingSpace("tiny", "0" * 64, SPACE.preprocessing, 4)
    embedder = TorchEmbedder(TinyModel(wrong, None), tmp_path, device="cpu")
    with pytest.raises(ModelError, match=r"tiny gave an array of shape \(2, 3\). Expected: \(2, 4\)"):
        embedder.embed(batch_of(embedder, 2))


@pytest.mark.parametrize("options", [{"precision": "int8"}, {"batch_size": 0}])
def test_wrong_options_are_refused_at_once(tmp_path: Path, options: dict[str, str | int]) -> None:
    with pytest.raises(SettingError, match=r"precision is 'int8'|batch_size is 0"):
        TorchEmbedder(TinyModel(SPACE, None), tmp_path, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("cuda", "mps", "requested", "chosen"),
    [
        (True, True, "auto", "cuda"),
        (False, True, "auto", "mps"),
        (False, False, "auto", "cpu"),
        (True, False, "cpu", "cpu"),
        (True, False, "cuda", "cuda"),
    ],
)
def test_auto_takes_the_fastest_device(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, requested: str, chosen: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert choose_device(requested) == chosen


@pytest.mark.parametrize("requested", ["cuda", "mps", "tpu"])
def test_a_missing_device_is_an_error_with_the_remedy(monkeypatch: pytest.MonkeyPatch, requested: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    message = f"The device '{requested}' is not available on this machine. Expected: one of cpu. .*IMGRET_DEVICE=auto"
    with pytest.raises(ModelError, match=message):
        choose_device(requested)


def test_a_device_is_looked_for_only_when_it_is_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch_engine, "choose_device", lambda _: pytest.fail("a device was looked for"))
    embedder = TorchEmbedder(TinyModel(SPACE, Path("w.pth")), tmp_path, device="auto")
    assert embedder.space.id.startswith("tiny-")


# Streams, several devices, too little memory


class Greedy(torch.nn.Module):
    """The mean of each channel, as long as a batch has at most `room` images."""

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
Greedily = Callable[..., TorchEmbedder]


@pytest.fixture
def greedy(tmp_path: Path) -> Greedily:
    """An embedder on a device with room for so many images; `words` are those of the error, else it is torch's own."""
    SEEN.clear()

    def make(room: int, words: str = "") -> TorchEmbedder:
        class GreedyModel(Model):
            def build(self) -> torch.nn.Module:
                return Greedy(room, words).eval()

        return TorchEmbedder(GreedyModel(SPACE, None), tmp_path, device="cpu", batch_size=8)

    return make


@pytest.mark.parametrize("words", ["", "MPS backend out of memory (MPS allocated: 9 GB)", "can't allocate memory"])
def test_too_little_memory_halves_the_batch_and_goes_on(embedder: TorchEmbedder, greedy: Greedily, words: str) -> None:
    tight = greedy(3, words)
    batch = batch_of(embedder, 20)
    np.testing.assert_allclose(tight.embed(batch), embedder.embed(batch), atol=1e-6)
    assert tight.batch_size == 2
    assert [8, 4, 2, 2, 4, 2, 2, *[2] * 6] == SEEN


def test_an_image_that_does_not_fit_alone_is_an_error_with_the_remedy(
    embedder: TorchEmbedder, greedy: Greedily
) -> None:
    with pytest.raises(ModelError, match=r"tiny needs more memory for one image than cpu has.*IMGRET_DEVICE=cpu"):
        greedy(0).embed(batch_of(embedder, 4))


def test_any_other_error_is_not_taken_for_memory(embedder: TorchEmbedder, greedy: Greedily) -> None:
    with pytest.raises(RuntimeError, match="something else"):
        greedy(0, "something else").embed(batch_of(embedder, 4))


def test_a_single_image_is_tried_again_once_the_batches_before_it_have_ended(
    embedder: TorchEmbedder, tmp_path: Path
) -> None:
    """A device with room for one image and its vector at a time."""
    held: list[weakref.ref[torch.Tensor]] = []

    class Narrow(Means):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            if any(vectors() is not None for vectors in held):
                raise torch.OutOfMemoryError("CUDA out of memory")
            outputs = super().forward(batch)
            held.append(weakref.ref(outputs))
            return outputs

    class NarrowModel(Model):
        def build(self) -> torch.nn.Module:
            return Narrow().eval()

    batch = batch_of(embedder, 5)
    narrow = TorchEmbedder(NarrowModel(SPACE, None), tmp_path, device="cpu", batch_size=1)
    found = {}
    for key, vector in narrow.stream((str(row), image) for row, image in enumerate(batch)):
        found[int(key)] = vector.copy()
        del vector
    np.testing.assert_allclose([found[row] for row in range(5)], embedder.embed(batch), atol=1e-6)
    assert len(held) == 5


def test_a_model_that_does_not_fit_is_an_error_with_the_remedy(embedder: TorchEmbedder, greedy: Greedily) -> None:
    """The proof, which any precision but float32 needs, is the first to take memory."""
    full = greedy(0)
    full = TorchEmbedder(full.model, full.folder, device="cpu", precision="bfloat16")
    with pytest.raises(ModelError, match=r"tiny needs more memory than cpu has free\. .*IMGRET_DEVICE=cpu"):
        full.load()
    assert not full.loaded


@pytest.mark.parametrize(("count", "used"), [(1, 1), (7, 2), (8, 2), (40, 3)])
def test_several_devices_share_the_batches_each_with_its_own_network(
    embedder: TorchEmbedder, monkeypatch: pytest.MonkeyPatch, count: int, used: int
) -> None:
    networks: set[int] = set()
    real = Means.forward

    def forward(self: Means, batch: torch.Tensor) -> torch.Tensor:
        networks.add(id(self))
        return real(self, batch)

    batch = batch_of(embedder, count)
    expected = embedder.embed(batch)
    monkeypatch.setattr(Means, "forward", forward)
    monkeypatch.setattr(torch_engine, "device_names", lambda device: [device] * 3)
    shared = TorchEmbedder(TinyModel(SPACE, None), embedder.folder, device="cpu", batch_size=4)
    np.testing.assert_allclose(shared.embed(batch), expected, atol=1e-6)
    assert len(networks) == used


def test_a_stream_gives_each_key_its_vector_and_takes_no_more_than_it_has_room_for(embedder: TorchEmbedder) -> None:
    taken = 0
    batch = batch_of(embedder, 12)

    def images() -> Iterator[tuple[str, np.ndarray]]:
        nonlocal taken
        for number in range(96):
            taken += 1
            yield str(number), batch[number % 12]

    small = TorchEmbedder(TinyModel(SPACE, None), embedder.folder, device="cpu", batch_size=4)
    stream = small.stream(images())
    expected = embedder.embed(batch)
    key, vector = next(stream)
    assert taken <= 4 * 4
    np.testing.assert_allclose(vector, expected[int(key) % 12], atol=1e-6)
    rest = dict(stream)
    assert sorted(map(int, [key, *rest])) == list(range(96))
    for number, vector in rest.items():
        np.testing.assert_allclose(vector, expected[int(number) % 12], atol=1e-6)
    assert small.forward_s > 0


# The proof


def test_another_precision_proves_that_it_agrees_and_how_far(embedder: TorchEmbedder, tmp_path: Path) -> None:
    fast = TorchEmbedder(TinyModel(SPACE, None), tmp_path, device="cpu", precision="bfloat16")
    fast.embed(batch_of(embedder, 1))
    ((key, agreement),) = recorded_agreements(tmp_path / SPACE.id).items()
    assert key.startswith("torch-cpu-bfloat16 ")
    assert 0.9999 <= agreement.least_cosine <= 1.0
    assert 0.0 <= agreement.largest_score_change < 0.01


def test_a_wrong_constant_in_the_engine_is_refused(embedder: TorchEmbedder, tmp_path: Path) -> None:
    """The engine normalises with another mean than the reference did."""
    changed = replace(SPACE, preprocessing=replace(SPACE.preprocessing, mean=(0.47, 0.47, 0.47)))
    wrong = TorchEmbedder(TinyModel(changed, None), tmp_path, device="cpu", precision="bfloat16")
    reference = reference_vectors(TinyModel(SPACE, None), tmp_path / SPACE.id)
    (tmp_path / changed.id).mkdir()
    np.save(tmp_path / changed.id / "reference.npy", reference)
    with pytest.raises(ModelError, match=r"vectors of tiny by torch-cpu-bfloat16 .* have a cosine of .* to torch's"):
        wrong.embed(batch_of(embedder, 1))
    assert not wrong.loaded
    assert recorded_agreements(tmp_path / changed.id) == {}


def test_auto_takes_float32_where_less_does_not_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_engine, "automatic_precisions", lambda _: ["bfloat16", "float32"])
    monkeypatch.setattr(engine_agreement, "MIN_AGREEMENT", 1.1)
    careful = TorchEmbedder(TinyModel(SPACE, None), tmp_path, device="cpu", precision="auto")
    assert careful.engine == "torch-cpu-float32"
    monkeypatch.setattr(engine_agreement, "MIN_AGREEMENT", 0.9)
    quick = TorchEmbedder(TinyModel(SPACE, None), tmp_path, device="cpu", precision="auto")
    assert quick.engine == "torch-cpu-bfloat16"


@pytest.mark.parametrize(("has_bfloat16", "first"), [(True, "bfloat16"), (False, "float16")])
def test_a_gpu_is_tried_in_half_precision_first(
    monkeypatch: pytest.MonkeyPatch, has_bfloat16: bool, first: str
) -> None:
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: has_bfloat16 or including_emulation
    )
    assert torch_engine.automatic_precisions("cuda") == [first, "float32"]
    assert torch_engine.automatic_precisions("cpu") == torch_engine.automatic_precisions("mps") == ["float32"]


def test_every_gpu_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert torch_engine.device_names("cuda") == ["cuda:0", "cuda:1"]
    assert torch_engine.device_names("mps") == ["mps"]
