"""A home's records of its spaces: found again, and computed again where they are damaged."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from imgret_assets.domain.models.resolution import (
    record_space,
    resolve,
    resolve_space,
)
from imgret_assets.domain.models.space_records import ModelChoice, recorded_spaces
from imgret_assets.domain.models.weights import file_sha256
from imgret_assets.domain.storage.home import Home
from imgret_tests.support.means import LITE0, mean_file, with_centre


@pytest.mark.parametrize("damage", ["", "{", "[]", "3", '{"stamp": null}'])
def test_a_damaged_record_is_written_again(home: Home, tmp_path: Path, damage: str) -> None:
    file = tmp_path / "w.pth"
    file.write_bytes(b"one")
    first = record_space(home, "resnet50", file)
    (record,) = (home.path / "models").glob("*.json")
    record.write_text(damage)
    assert resolve(home, "resnet50", file) == first
    assert record_space(home, "resnet50", file) == first
    assert resolve_space(home, first.space.id) == first


def test_a_model_with_a_mean_has_a_record_apart_from_the_model_alone(home: Home, tmp_path: Path) -> None:
    plain = record_space(home, LITE0)
    (record,) = (home.path / "models").glob("*.json")
    file = mean_file(tmp_path)
    set_home = with_centre(home, file)
    model = record_space(set_home, LITE0)
    assert model.space == replace(plain.space, centre=file_sha256(file))
    assert model.mean is not None
    assert np.array_equal(np.load(model.mean), np.load(file))
    assert {known.space for known in recorded_spaces(home)} == {plain.space, model.space}
    assert record in (home.path / "models").glob("*.json"), "older homes find their record under the same name"
    assert resolve(home, LITE0) == plain
    assert resolve(set_home, LITE0) == model
    for opened in (home, set_home, with_centre(home, "none")):
        assert resolve_space(opened, plain.space.id) == plain
        assert resolve_space(opened, model.space.id) == model


@pytest.mark.parametrize(
    ("choice", "name"),
    [
        (ModelChoice("resnet50", Path("/w.pth"), "full", "auto", ""), "resnet50-e9d70b67.json"),
        (ModelChoice("efficientnet_lite0", None, "scaled", "gem", ""), "efficientnet_lite0-94e75f6e.json"),
        (ModelChoice("timm:a/B", None, "scaled", "auto", "ab"), "timm_a_b-8166ce8c.json"),
    ],
)
def test_the_name_of_a_record_never_changes(home: Home, choice: ModelChoice, name: str) -> None:
    """Older homes have their records under these names."""
    assert choice.record_path(home) == home.path / "models" / name
