"""A model of open_clip with seeded random weights, in a folder as its hub repositories are.

Belongs here: making the folder and other kinds of it. Not here: what imgret computes with it.
"""

import json
from pathlib import Path
from typing import Any

import torch

CONFIG: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
        # open_clip's own vocabulary; it has no smaller one.
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
    },
    "preprocess_cfg": {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3]},
}


def changed_config(**changes: Any) -> dict[str, Any]:
    """Return the configuration with other values, by their dotted names with `__` for dots."""
    config = json.loads(json.dumps(CONFIG))
    for name, value in changes.items():
        *groups, key = name.split("__")
        part = config
        for group in groups:
            part = part.setdefault(group, {})
        part[key] = value
    return config


def make_tiny_clip(folder: Path, config: dict[str, Any] = CONFIG, *, seed: int = 5) -> str:
    """Write a model to a folder and return its name for imgret."""
    import open_clip

    model_config = json.loads(json.dumps(config["model_cfg"]))
    torch.manual_seed(seed)
    custom = model_config.pop("custom_text", False)
    model = (open_clip.CustomTextCLIP if custom else open_clip.CLIP)(**model_config)
    with torch.no_grad():
        for parameter in model.parameters():
            # open_clip draws some weights so small that vectors hardly depend on the input.
            if parameter.dim() > 1:
                parameter.mul_(3)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")
    return f"openclip:local-dir:{folder}"
