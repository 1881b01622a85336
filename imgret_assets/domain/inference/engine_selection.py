"""Choosing what runs a model: OpenVINO on a CPU, torch on a GPU, or what was asked for.

Belongs here: the choice. Not here: running (`domain.inference.embedder`, `domain.inference.openvino_engine`).
"""

import sys
from pathlib import Path

from imgret_assets.domain.inference.embedder import DEFAULT_BATCH_SIZE, Embedder
from imgret_assets.domain.inference.openvino_engine import OpenVinoEmbedder
from imgret_assets.domain.inference.torch_engine import TorchEmbedder, choose_device
from imgret_assets.domain.models.resolution import Model
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import SettingError


def choose_embedder(
    home: Home,
    model: Model,
    *,
    device: str = "auto",
    engine: str = "auto",
    precision: str = "auto",
    batch_size: int = DEFAULT_BATCH_SIZE,
) -> Embedder:
    """The embedder for a model; nothing heavy is loaded.

    With `auto`, the engine and precision that made this home's vectors go on making them; a new home gets OpenVINO on
    a CPU, in bfloat16 where the CPU has it, and torch on a GPU.

    Args:
        home: the home, whose record says which engine it has used.
        model: the model.
        device: `auto`, `cpu`, `cuda` or `mps`.
        engine: `auto`, `openvino` or `torch`.
        precision: `auto`, `float32` or `bfloat16`; torch also takes `float16`.
        batch_size: pictures given to the model at once.

    Raises:
        SettingError: engine, device and precision don't go together.
    """
    chosen = engine
    if engine == "auto":
        chosen = home.record.engine or "openvino"
        if precision == "float16" or _on_gpu(device):
            chosen = "torch"
    if precision == "auto" and chosen == home.record.engine:
        precision = home.record.precision or "auto"
    if chosen == "torch":
        return TorchEmbedder(
            model, folder=home.path / "models", device=device, precision=precision, batch_size=batch_size
        )
    if device not in ("auto", "cpu"):
        raise SettingError(
            f"The engine openvino was asked for with device {device}",
            expected="device cpu",
            remedy="set IMGRET_ENGINE=torch for others",
        )
    return OpenVinoEmbedder(
        model,
        home.path / "models",
        precision=precision,
        batch_size=batch_size,
        lock_timeout_s=home.settings.lock_timeout_s,
    )


def _on_gpu(device: str) -> bool:
    if device in ("cuda", "mps"):
        return True
    # Asking torch costs seconds: only where there may be something to find.
    there_may_be_one = sys.platform == "darwin" or Path("/dev/nvidiactl").exists() or Path("/dev/kfd").exists()
    return device == "auto" and there_may_be_one and choose_device("auto") != "cpu"
