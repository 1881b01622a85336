"""The id of an embedding space: what changes it, and that it never changes by itself."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace

import pytest

from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.models.preprocessing import Preprocessing
from imgret_assets.locations import PROJECT
from imgret_tests.support.means import LITE0

SPACE = EmbeddingSpace(
    "timm:resnet18", "ab" * 32, Preprocessing((224, 224), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 0.875, "bicubic"), 512
)


def test_the_id_of_a_space_never_changes() -> None:
    """Tables and graphs carry it: a change here would embed every collection anew."""
    assert SPACE.id == "timm_resnet18-a02f1685"
    squeezed = replace(SPACE, preprocessing=replace(SPACE.preprocessing, crop=None))
    assert squeezed.id == "timm_resnet18-35077c31"


def test_the_id_is_the_same_in_every_process() -> None:
    code = (
        "from imgret_assets.domain.models.embedding_space import EmbeddingSpace\n"
        "from imgret_assets.domain.models.preprocessing import Preprocessing\n"
        "print(EmbeddingSpace('timm:resnet18', 'ab' * 32, Preprocessing((224, 224), (0.5,) * 3, (0.5,) * 3, 0.875, "
        "'bicubic'), 512).id)"
    )
    for seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, "-c", code], env=env, cwd=PROJECT, capture_output=True, text=True)
        assert done.stdout.strip() == SPACE.id


@pytest.mark.parametrize("name", ["resnet50", LITE0, "timm:hf_hub:a/B.c-d", "timm:vit_base_patch16_224.augreg"])
def test_an_id_is_a_name_and_eight_digits(name: str) -> None:
    assert re.fullmatch(r"[a-z0-9_.-]+-[0-9a-f]{8}", replace(SPACE, model=name).id)


@pytest.mark.parametrize(
    "other",
    [
        replace(SPACE, model="timm:resnet34"),
        replace(SPACE, weights_sha256="ac" * 32),
        replace(SPACE, dim=513),
        replace(SPACE, preprocessing=replace(SPACE.preprocessing, size=(224, 225))),
        replace(SPACE, preprocessing=replace(SPACE.preprocessing, crop=None)),
        replace(SPACE, preprocessing=replace(SPACE.preprocessing, interpolation="bilinear")),
        replace(SPACE, preprocessing=replace(SPACE.preprocessing, mean=(0.5, 0.5, 0.51))),
        replace(SPACE, preprocessing=replace(SPACE.preprocessing, std=(0.5, 0.5, 0.51))),
        replace(SPACE, preprocessing=replace(SPACE.preprocessing, decoding="scaled")),
        replace(SPACE, preprocessing=replace(SPACE.preprocessing, crop_mode="squash")),
        replace(SPACE, pooling="gem"),
    ],
)
def test_whatever_changes_vectors_changes_the_id(other: EmbeddingSpace) -> None:
    assert other.id != SPACE.id


def test_fields_that_were_added_later_leave_older_ids_as_they_were() -> None:
    """A table written before there was a choice of decoding, cropping or pooling."""
    said = SPACE.as_metadata()
    preprocessing = json.loads(said["preprocessing"])
    del said["pooling"], preprocessing["decoding"], preprocessing["crop_mode"]
    again = EmbeddingSpace.from_metadata({**said, "preprocessing": json.dumps(preprocessing)})
    assert (again, again.id) == (SPACE, said["space"])


def test_a_space_is_read_back_from_a_table_s_metadata() -> None:
    odd = replace(SPACE.preprocessing, crop=0.95, crop_mode="squash", decoding="scaled")
    for space in (SPACE, replace(SPACE, preprocessing=odd, pooling="gem")):
        said = space.as_metadata()
        assert all(isinstance(value, str) for value in said.values())
        assert said["space"] == space.id
        assert EmbeddingSpace.from_metadata(json.loads(json.dumps(said))) == space


def test_a_space_without_a_mean_keeps_its_id_and_every_mean_makes_another() -> None:
    space = EmbeddingSpace("m", "ab" * 32, Preprocessing((8, 8), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)), 4)
    ids = {replace(space, centre=centre).id for centre in ("", "0a" * 32, "0b" * 32)}
    assert len(ids) == 3
    assert space.id == "m-45aec460", "the id from before means were supported"
    with_mean = replace(space, centre="0a" * 32)
    assert EmbeddingSpace.from_metadata(json.loads(json.dumps(with_mean.as_metadata()))) == with_mean
    older = {key: value for key, value in space.as_metadata().items() if key != "centre"}
    assert EmbeddingSpace.from_metadata(older) == space
