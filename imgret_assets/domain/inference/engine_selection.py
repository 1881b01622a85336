"""The choice of an engine for a model: OpenVINO on a CPU, torch on a GPU, or what the settings name.

Belongs here: the choice. Not here: the engines (`domain.inference.openvino_engine`, `domain.inference.torch_engine`).
"""

import sys

from imgret_assets.domain.inference.embedder import DEFAULT_BATCH_SIZE, Embedder
from imgret_assets.domain.inference.openvino_engine import OpenVinoEmbedder
from imgret_assets.domain.inference.torch_engine import TorchEmbedder, choose_device
from imgret_assets.domain.models.resolution import Model
from imgret_assets.domain.runtime import gpus
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import SettingError

_HALF_PRECISIONS = ("bfloat16", "float16")


def choose_embedder(
    home: Home,
    model: Model,
    *,
    device: str = "auto",
    engine: str = "auto",
    precision: str = "auto",
    batch_size: int = DEFAULT_BATCH_SIZE,
) -> Embedder:
    """Return the embedder for a model; nothing heavy is loaded.

    With `auto`, the engine and the precision that computed this home's vectors go on computing them, but for a half
    precision of a GPU where there is none any more. A new home gets OpenVINO on a CPU, in bfloat16 where the CPU has
    it, and torch on a GPU.

    Args:
        home: the home, whose record names the engine it has used.
        model: the model.
        device: `auto`, `cpu`, `cuda` or `mps`.
        engine: `auto`, `openvino` or `torch`.
        precision: `auto`, `float32` or `bfloat16`; torch also takes `float16`.
        batch_size: images given to the model at once.

    Raises:
        SettingError: engine, device and precision don't go together.
        ModelError: the named device is not on this machine.
    """
    recorded = home.record.engine if home.record.engine in (OpenVinoEmbedder.family, TorchEmbedder.family) else None
    chosen = engine
    if engine == "auto":
        chosen = recorded or OpenVinoEmbedder.family
        if precision == "float16" or uses_gpu(device):
            chosen = "torch"
    if precision == "auto" and chosen == recorded:
        # torch took a half precision for a GPU. On a CPU it may disagree with the reference, and it is slow.
        made_for_gpu = chosen == "torch" and home.record.precision in _HALF_PRECISIONS
        precision = "auto" if made_for_gpu and not uses_gpu(device) else home.record.precision or "auto"
    folder = home.path / "models"
    if chosen == "torch":
        if device not in ("auto", "cpu"):
            # Tried now, before anything is recorded or written for it.
            choose_device(device)
        return TorchEmbedder(model, folder, device=device, precision=precision, batch_size=batch_size)
    if device not in ("auto", "cpu"):
        raise SettingError(
            f"The engine openvino can't run on device {device}",
            expected="device cpu",
            remedy="set IMGRET_ENGINE=torch for others",
        )
    return OpenVinoEmbedder(
        model, folder, precision=precision, batch_size=batch_size, lock_timeout_s=home.settings.lock_timeout_s
    )


def uses_gpu(device: str) -> bool:
    """Return whether a device is a GPU, or `auto` stands for one on this machine."""
    if device in ("cuda", "mps"):
        return True
    # Importing torch takes seconds: only where there may be a GPU.
    gpu_is_possible = sys.platform == "darwin" or gpus.has_driver()
    return device == "auto" and gpu_is_possible and choose_device("auto") != "cpu"
