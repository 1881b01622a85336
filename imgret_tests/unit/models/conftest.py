"""Weights files that need no download, each written once for all tests of the package.

Belongs here: fixtures. Not here: how the weights are drawn (`support/torch_models.py`).
"""

from pathlib import Path

import pytest
import timm
import torch
import torchvision

from imgret_tests.support.torch_models import SMALL, TinyWeights, TrainedNetwork, seed_weights


@pytest.fixture(scope="package")
def trained_resnet50(tmp_path_factory: pytest.TempPathFactory) -> TrainedNetwork:
    """A weights file of resnet50 and the network it was saved from."""
    network = torchvision.models.resnet50(weights=None)
    for name, parameter in network.named_parameters():
        if name.endswith("bn3.weight"):
            # As when trained: each block changes little. Else float32 itself, torchvision's too, is 1e-4 off float64.
            torch.nn.init.constant_(parameter, 0.2)
    network = seed_weights(network)
    file = tmp_path_factory.mktemp("weights") / "resnet50.pth"
    torch.save(network.state_dict(), file)
    return file, network


@pytest.fixture(scope="package")
def trained_small(tmp_path_factory: pytest.TempPathFactory) -> TrainedNetwork:
    """A weights file of a small timm model and the network it was saved from."""
    network = seed_weights(timm.create_model(SMALL.removeprefix("timm:"), pretrained=False))
    file = tmp_path_factory.mktemp("weights") / "small.pth"
    torch.save(network.state_dict(), file)
    return file, network


@pytest.fixture(scope="package")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> TinyWeights:
    """From the name of a timm model to a weights file, written at the first call with this name."""
    folder = tmp_path_factory.mktemp("tiny")

    def weights_file(name: str) -> Path:
        file = folder / f"{name.removeprefix('timm:')}.pth"
        if not file.is_file():
            torch.manual_seed(5)
            network = timm.create_model(name.removeprefix("timm:"), pretrained=False)
            with torch.no_grad():
                for parameter in network.parameters():
                    # timm starts some layers at zero, which would hide a mistake in what comes after them.
                    parameter.add_(0.02 * torch.randn(parameter.shape))
            torch.save(network.state_dict(), file)
        return file

    return weights_file
