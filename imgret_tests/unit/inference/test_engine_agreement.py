"""An engine that is a little wrong is refused; one that is right is measured once."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imgret_assets.domain.inference.engine_agreement import (
    MIN_AGREEMENT,
    Agreement,
    ensure_agreement,
    fixed_images,
    measure_agreement,
    reference_vectors,
)
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.models.preprocessing import Preprocessing
from imgret_assets.domain.models.resolution import Model
from imgret_assets.errors import ModelError
from imgret_tests.support.agreement_records import recorded_agreements

torch = pytest.importorskip("torch")
SPACE = EmbeddingSpace("tiny", "0" * 64, Preprocessing((4, 6), (0.5, 0.4, 0.3), (0.5, 0.5, 0.25)), 72)


class Flat(torch.nn.Module):
    def forward(self, batch: torch.Tensor) -> torch.Tensor:  # type: ignore[name-defined]
        return batch.flatten(1)


class FlatModel(Model):
    """A model whose vectors are the input's numbers; counts how often it is built."""

    built = 0

    def build(self) -> torch.nn.Module:  # type: ignore[name-defined]
        type(self).built += 1
        return Flat()


def right_vectors(images: list[Image.Image]) -> np.ndarray:
    return np.stack([SPACE.preprocessing.apply(image).reshape(-1) for image in images])


def test_an_engine_that_disagrees_is_refused(rng: np.random.Generator) -> None:
    reference = rng.normal(size=(6, 64)).astype(np.float32)
    wrong = reference.copy()
    wrong[3] += 0.03 * rng.normal(size=64).astype(np.float32)
    with pytest.raises(ModelError, match=rf"X's vectors have a cosine of 0\.999.*at least {MIN_AGREEMENT}"):
        measure_agreement(reference, wrong, "X's vectors")
    with pytest.raises(ModelError, match="shape"):
        measure_agreement(reference, wrong[:, :60], "X's vectors")
    wrong[3] = np.nan
    with pytest.raises(ModelError, match="nan"):
        measure_agreement(reference, wrong, "X's vectors")


def test_the_measure_is_the_least_cosine_and_the_largest_change_of_a_score() -> None:
    reference = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0]], np.float32)
    vectors = np.array([[1, 0, 0], [0, 2, 0], [1, 1, 0.01]], np.float32)
    agreement = measure_agreement(reference, vectors, "x")
    norm = np.sqrt(2 + 1e-4)
    assert agreement.least_cosine == pytest.approx(2 / (np.sqrt(2) * norm), abs=1e-9)
    assert agreement.largest_score_change == pytest.approx(1 / np.sqrt(2) - 1 / norm, abs=1e-9)


def test_the_fixed_images_are_the_same_every_time_and_all_different() -> None:
    images = fixed_images()
    assert len(images) == 12
    assert all(image.mode == "RGB" for image in images)
    assert [image.tobytes() for image in images] == [image.tobytes() for image in fixed_images()]
    assert len({image.tobytes() for image in images}) == 12
    sizes = {image.size for image in images}
    assert any(width > height for width, height in sizes)
    assert any(width < height for width, height in sizes)


def test_the_reference_is_computed_once_for_a_home(tmp_path: Path) -> None:
    FlatModel.built = 0
    model = FlatModel(SPACE, None)
    first = reference_vectors(model, tmp_path)
    np.testing.assert_allclose(first, right_vectors(fixed_images()), atol=1e-6)
    np.testing.assert_array_equal(reference_vectors(model, tmp_path), first)
    assert FlatModel.built == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda _: b"",
        lambda data: b"\xa5" * len(data),
        lambda data: data[:150] + bytes([data[150] ^ 1]) + data[151:],
        lambda data: data[:8] + b"\x05" + data[9:],
    ],
    ids=["half", "empty", "garbage", "bit", "header"],
)
def test_a_damaged_reference_is_computed_again(
    tmp_path: Path, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    FlatModel.built = 0
    model = FlatModel(SPACE, None)
    first = reference_vectors(model, tmp_path)
    file = tmp_path / "reference.npy"
    file.write_bytes(damage(file.read_bytes()))
    for _ in range(2):
        np.testing.assert_array_equal(reference_vectors(model, tmp_path), first)
    assert FlatModel.built == 2
    [warning] = caplog.messages
    assert f"{file} is damaged" in warning


def test_a_reference_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    first = reference_vectors(FlatModel(SPACE, None), tmp_path)
    np.save(tmp_path / "reference.npy", first)
    FlatModel.built = 0
    np.testing.assert_array_equal(reference_vectors(FlatModel(SPACE, None), tmp_path), first)
    assert FlatModel.built == 0


def test_each_engine_is_measured_once(tmp_path: Path) -> None:
    model = FlatModel(SPACE, None)
    calls: list[str] = []

    def engine(name: str, value: float = 1.0) -> Agreement:
        def embed(images: list[Image.Image]) -> np.ndarray:
            calls.append(name)
            return right_vectors(images) * value

        return ensure_agreement(model, tmp_path, name, embed)

    first = engine("one")
    assert first.least_cosine == pytest.approx(1.0)
    assert engine("one") == first
    engine("two", 3.0)
    assert calls == ["one", "two"]
    assert list(recorded_agreements(tmp_path)) == ["one", "two"]


def test_a_wrong_engine_is_never_recorded_as_right(tmp_path: Path) -> None:
    model = FlatModel(SPACE, None)
    for _ in range(2):
        with pytest.raises(ModelError, match="vectors of tiny by shifted have a cosine of"):
            ensure_agreement(model, tmp_path, "shifted", lambda images: right_vectors(images) + 0.05)
    assert recorded_agreements(tmp_path) == {}


@pytest.mark.parametrize("text", ["", "[]", '{"one": 3}', '{"one": {"least_cosine": 1}}'])
def test_a_damaged_record_is_measured_again(tmp_path: Path, text: str) -> None:
    (tmp_path / "agreement.json").write_text(text)
    ensure_agreement(FlatModel(SPACE, None), tmp_path, "one", right_vectors)
    assert list(recorded_agreements(tmp_path)) == ["one"]
