"""Networks with seeded weights, and what models should compute from them.

Belongs here: weights that need no download, reference computations in torch and numpy. Not here: the fixtures that
write weights files (`unit/models/conftest.py`), a model without torch (`fake_model.py`).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image

from imgret_assets.domain.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from imgret_assets.domain.models.resolution import Model
from imgret_tests.support.pictures import picture

SMALL = "timm:mobilenetv3_small_050"
CLIP = "timm:vit_xsmall_patch16_clip_224.tinyclip_yfcc15m"
# Models with random weights, by the layout of their last features: which numbers are pooled counts, not their meaning.
TINY = {
    "timm:test_resnet": "NCHW",
    "timm:test_mambaout": "NHWC",
    "timm:test_vit": "tokens:1",
    "timm:deit_tiny_distilled_patch16_224": "tokens:2",
}
SIZES = [(224, 224), (500, 375), (375, 500), (30, 40), (1, 1), (1000, 20), (223, 641), (7, 333)]

TrainedNetwork = tuple[Path, torch.nn.Module]
"""A weights file, and the network it was saved from."""
TinyWeights = Callable[[str], Path]
"""From the name of a model of timm to a weights file."""


def seed_weights(network: torch.nn.Module, seed: int = 7) -> torch.nn.Module:
    """Draw weights whose activations neither die nor explode: one batch sets the statistics of each layer."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            for parameter in module.parameters(recurse=False):
                if parameter.dim() > 1:
                    bound = (3 / parameter[0].numel()) ** 0.5
                    parameter.uniform_(-bound, bound, generator=generator)
                elif isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
                    # A bias, which torch would draw from its global generator.
                    parameter.uniform_(-0.05, 0.05, generator=generator)
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1.0
        inputs = [Preprocessing((96, 96), IMAGENET_MEAN, IMAGENET_STD).apply(picture(number)) for number in range(4)]
        network.train()
        network(torch.from_numpy(np.stack(inputs)))
    return network.eval()


def embed_images(model: Model, images: list[Image.Image]) -> np.ndarray:
    """Return the vectors float32 (n, dim) of a model's network for RGB images."""
    inputs = np.stack([model.space.preprocessing.apply(image) for image in images])
    with torch.inference_mode():
        return model.build()(torch.from_numpy(inputs)).numpy()


def input_batch(model: Model, count: int = 2) -> torch.Tensor:
    """Return a model's input float32 (count, 3, height, width), of generated images."""
    images = [picture(seed, (300, 200)) for seed in range(count)]
    return torch.from_numpy(np.stack([model.space.preprocessing.apply(image) for image in images]))


def gem_reference(features: torch.Tensor) -> np.ndarray:
    """Return the generalised mean of feature maps (n, channels, height, width), as the paper defines it, in float64."""
    cubes = np.maximum(features.double().numpy(), 1e-6) ** 3
    return cubes.mean(axis=(2, 3)) ** (1 / 3)


def timm_configurations() -> dict[str, dict[str, Any]]:
    """Return timm's configurations of all models that have weights, by name."""
    names = timm.list_models(pretrained=True)
    return {name: config.to_dict() for name in names if (config := timm.models.get_pretrained_cfg(name)) is not None}
