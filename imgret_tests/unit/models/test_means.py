"""Means: wrong files are refused, and the home's copies are checked."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from imgret_assets.domain.models.means import keep_mean, read_mean
from imgret_assets.domain.models.resolution import (
    record_space,
    resolve,
    resolve_space,
)
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.errors import ModelError
from imgret_tests.support.means import LITE0, mean_file, with_centre


def not_an_array(file: Path) -> None:
    file.write_text("0.1 0.2\n")


def an_archive(file: Path) -> None:
    with file.open("wb") as opened:
        np.savez(opened, a=np.zeros(4, np.float32))


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda _: None, "does not exist"),
        (not_an_array, "can't be read"),
        (lambda file: file.touch(), "can't be read"),
        (lambda file: file.mkdir(), "can't be read"),
        (an_archive, "holds several arrays"),
        (lambda file: np.save(file, np.array([{}], dtype=object)), "can't be read"),
        (lambda file: np.save(file, np.full(4, 0.1)), r"float64 of shape \(4,\)"),
        (lambda file: np.save(file, np.full(3, 0.1, np.float32)), r"float32 of shape \(3,\)"),
        (lambda file: np.save(file, np.full((1, 4), 0.1, np.float32)), r"float32 of shape \(1, 4\)"),
        (lambda file: np.save(file, np.array([0.1, np.nan, 0, 0], np.float32)), "not finite"),
        (lambda file: np.save(file, np.array([1, 0.1, 0, 0], np.float32)), "a vector of length 1.005"),
    ],
)
def test_a_wrong_file_is_named_with_what_it_holds(tmp_path: Path, write: Callable[[Path], None], said: str) -> None:
    file = tmp_path / "mean.npy"
    write(file)
    with pytest.raises(ModelError, match=rf"^The mean {file} .*{said}.*Expected: .*IMGRET_CENTRE"):
        read_mean(file, 4)


def test_a_mean_may_be_as_long_as_rounding_makes_it(tmp_path: Path) -> None:
    """All of a collection's vectors in one direction."""
    np.save(tmp_path / "mean.npy", np.full(2048, np.float32(1 / 2048**0.5)))
    assert read_mean(tmp_path / "mean.npy", 2048).dtype == np.float32


@pytest.mark.parametrize(("centre", "said"), [("gone.npy", "does not exist"), ("mean4-0.npy", r"shape \(4,\).*1280,")])
def test_a_setting_that_is_no_mean_of_this_model_is_an_error(
    home: Home, tmp_path: Path, centre: str, said: str
) -> None:
    mean_file(tmp_path, 4)
    with pytest.raises(ModelError, match=said):
        resolve(with_centre(home, tmp_path / centre), LITE0)


def test_the_mean_of_another_space_is_refused_though_it_fits(home: Home, tmp_path: Path) -> None:
    file = mean_file(tmp_path)
    own = resolve(home, LITE0).space
    gem = resolve(home, LITE0, pooling="gem").space
    centre = keep_mean(home, file, gem)
    with pytest.raises(ModelError, match=f"was made of vectors in {gem.id}. Expected: one of vectors in {own.id}"):
        resolve(with_centre(home, file), LITE0)
    assert resolve(with_centre(home, file), LITE0, pooling="gem").space == replace(gem, centre=centre)


@pytest.mark.parametrize("damage", [Path.unlink, lambda kept: kept.write_bytes(kept.read_bytes()[:-4] + b"\0\0\0\0")])
def test_a_copy_that_is_gone_or_changed_is_not_used(home: Home, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    file = mean_file(tmp_path)
    set_home = with_centre(home, file)
    model = record_space(set_home, LITE0)
    assert model.mean is not None
    damage(model.mean)
    recorded = open_home(replace(home.settings, centre=None)).update(model=LITE0, centre=model.space.centre)
    for ask in (lambda: resolve(recorded, LITE0), lambda: resolve_space(recorded, model.space.id)):
        with pytest.raises(ModelError, match=r"missing or damaged .*IMGRET_CENTRE to the file"):
            ask()
    assert resolve(set_home, LITE0).mean == file, "the file itself is used"
    assert record_space(set_home, LITE0) == model, "and makes the copy whole again"
