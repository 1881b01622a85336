"""The list of models: names, weights, and that a new model is one entry."""

from pathlib import Path

import pytest
import torch

from imgret_assets.domain.models import registry
from imgret_assets.domain.models.model_family import NamedModel
from imgret_assets.domain.models.preprocessing import Preprocessing
from imgret_assets.domain.models.registry import find_weights, weights_state
from imgret_assets.domain.models.resolution import record_space, resolve, resolve_space
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import ModelError
from imgret_tests.support.pictures import picture
from imgret_tests.support.torch_models import embed_images


def test_the_user_s_file_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "w.pth"
    file.write_bytes(b"")
    assert find_weights("resnet50", file) == file
    assert find_weights("timm:resnet18", file) == file
    with pytest.raises(ModelError, match=r"weights file .*none\.pth does not exist.*IMGRET_WEIGHTS"):
        find_weights("resnet50", tmp_path / "none.pth")


@pytest.mark.parametrize("name", ["resnet18", "ResNet50", "", "timm:", "timm:a b", "timm:$(id)"])
def test_an_unknown_name_is_an_error_that_lists_the_known(name: str) -> None:
    with pytest.raises(
        ModelError, match=r"There is no model '.*'.*resnet50 or efficientnet_lite0 or efficientnet_lite2 or timm:<name>"
    ):
        find_weights(name, None)


def test_where_weights_are_is_known_without_loading_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    names = ("resnet50", "efficientnet_lite0", "timm:resnet18.a1_in1k", "unknown")
    states = {name: weights_state(name, None) for name in names}
    assert states == {
        "resnet50": "missing",
        "efficientnet_lite0": "here",
        "timm:resnet18.a1_in1k": "at the hub",
        "unknown": "missing",
    }
    file = tmp_path / "w.pth"
    assert weights_state("resnet50", file) == "missing"
    file.write_bytes(b"")
    assert weights_state("resnet50", file) == "here"


def test_a_new_model_is_one_entry(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its weights, space and network are found by its name, and its remedy is told; nothing else names it."""

    def find_colour_weights() -> Path:
        file = tmp_path / "colours.pth"
        if not file.is_file():
            raise ModelError("The weights of colours are missing", remedy="mix some")
        return file

    colours = NamedModel(
        name="colours",
        preprocessing=Preprocessing((4, 4), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        dim=48,
        find_weights=find_colour_weights,
        build_network=lambda _file, _pooling: torch.nn.Flatten(1),
    )
    monkeypatch.setattr(registry, "FAMILIES", (*registry.FAMILIES, colours))
    with pytest.raises(ModelError, match=r"weights of colours are missing.*mix some"):
        resolve(home, "colours")
    (tmp_path / "colours.pth").write_bytes(b"red, green, blue")
    model = record_space(home, "colours")
    assert (model.space.dim, model.space.preprocessing.decoding) == (48, "scaled")
    assert resolve_space(home, model.space.id) == model
    assert embed_images(model, [picture(1)]).shape == (1, 48)
    with pytest.raises(ModelError, match="or colours"):
        resolve(home, "colors")
