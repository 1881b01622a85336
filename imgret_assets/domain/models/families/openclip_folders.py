"""Folders with a model of open_clip: a configuration and a checkpoint, as its hub repositories have them.

Belongs here: finding and checking these files, without importing torch. Not here: building the model
(`domain.models.families.openclip_models`).
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from imgret_assets.domain.models.weights import file_sha256
from imgret_assets.errors import ModelError

CONFIG_FILE = "open_clip_config.json"
# In open_clip's order of preference; of other names there must be one.
_CHECKPOINTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
)
_SUFFIXES = (".safetensors", ".bin", ".pth")
_MAX_CONFIG_BYTES = 1 << 20
_EXPECTED = f"a folder with {CONFIG_FILE} and one checkpoint ({', '.join(f'*{suffix}' for suffix in _SUFFIXES)})"


def find_checkpoint(folder: Path) -> Path:
    """Return the checkpoint of a folder.

    Raises:
        ModelError: the folder, its configuration or its checkpoint is missing, or there are several checkpoints.
    """
    if not folder.is_absolute():
        raise ModelError(
            f"openclip:local-dir:{folder} is not an absolute path",
            expected="a path from the root of the file system",
            remedy=f"name it openclip:local-dir:{folder.absolute()}",
        )
    if not (folder / CONFIG_FILE).is_file():
        found = "has no " + CONFIG_FILE if folder.is_dir() else "is not a folder"
        raise ModelError(f"{folder} {found}", expected=_EXPECTED, remedy="correct the name of the model")
    files = sorted(file for file in folder.iterdir() if file.suffix in _SUFFIXES and file.is_file())
    for name in _CHECKPOINTS:
        if folder / name in files:
            return folder / name
    if len(files) != 1:
        found = f"several checkpoints: {', '.join(file.name for file in files)}" if files else "no checkpoint"
        raise ModelError(f"{folder} has {found}", expected=_EXPECTED)
    return files[0]


def read_config(folder: Path) -> dict[str, Any]:
    """Read and check the configuration of a folder: `model_cfg` with its two towers, and `preprocess_cfg`.

    Raises:
        ModelError: it can't be read, lacks a part, or names a model of another library, which would be downloaded.
    """
    file = folder / CONFIG_FILE
    try:
        if file.stat().st_size > _MAX_CONFIG_BYTES:
            raise ModelError(f"{file} has {file.stat().st_size:,} bytes", expected="a configuration of some kilobytes")
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(
            f"{file} can't be read ({type(error).__name__})", expected="JSON, as open_clip writes"
        ) from error
    model = config.get("model_cfg") if isinstance(config, dict) else None
    preprocess = config.get("preprocess_cfg", {}) if isinstance(config, dict) else None
    towers = [model.get("vision_cfg"), model.get("text_cfg")] if isinstance(model, dict) else []
    if not isinstance(preprocess, dict) or not towers or not all(isinstance(tower, dict) for tower in towers):
        raise ModelError(
            f"{file} is not a configuration of open_clip",
            expected="an object `model_cfg` with the objects `vision_cfg` and `text_cfg`, and maybe `preprocess_cfg`",
        )
    return {"model_cfg": model, "preprocess_cfg": preprocess}


def folder_digest(folder: Path, checkpoint: Path) -> str:
    """Return the SHA-256 of a checkpoint together with the configuration of its network, in hex."""
    model = json.dumps(read_config(folder)["model_cfg"], sort_keys=True)
    return hashlib.sha256(f"{file_sha256(checkpoint)}\n{model}".encode()).hexdigest()
