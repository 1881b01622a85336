"""Models: their names, weights and preprocessing, and the embedding space each defines.

Belongs here: `EmbeddingSpace`, finding weights, keeping means, from a name to a model. Not here: building networks
(`domain.models.networks`), making means (`domain.embeddings.mean_centring`), running networks over pictures
(`domain.inference.embedder`), tables (`domain.storage.tables`). Nothing here imports torch.
"""

import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from imgret_assets.domain.models import networks
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.models.means import _check_source, keep_mean, mean_digest, mean_file
from imgret_assets.domain.models.networks import FIXED, LITE0_MEAN, LITE0_STD
from imgret_assets.domain.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD, SCALED_MARGIN, Preprocessing
from imgret_assets.domain.models.space_records import Remembered, _recorded, remembered
from imgret_assets.domain.models.weights import (
    LITE0_PACKAGE,
    NAMES,
    RESNET50_WEIGHTS_FILE,
    _state_sha256,
    file_sha256,
    find_weights,
    resnet50_cache,
)
from imgret_assets.domain.storage import atomic_files
from imgret_assets.domain.storage.home import Home
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
# The article's own model sees every pixel, as in the article.
_FULLY_DECODED = frozenset({"resnet50"})


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

    Raises:
        ModelError: IMGRET_CENTRE is no file with a mean.
    """
    setting, record = home.settings.centre, home.record
    if setting is None:
        return (record.centre if record.model == name else None) or ""
    return "" if setting == "none" else mean_digest(setting)


def resolve(
    home: Home,
    name: str | None = None,
    weights: Path | None = None,
    *,
    decoding: str | None = None,
    pooling: str | None = None,
    centre: str | None = None,
) -> Model:
    """Find a model's weights, mean and embedding space. Nothing is written.

    The space comes from the home's record of it where `record_space` has made one of the same weights file; else it is
    computed, which hashes the weights and, for a timm model, builds the network.

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
    return _resolved(home, asked, mean_file(home, asked.centre))


def record_space(
    home: Home,
    name: str | None = None,
    weights: Path | None = None,
    *,
    decoding: str | None = None,
    pooling: str | None = None,
    centre: str | None = None,
) -> Model:
    """Resolve a model and record its space and mean in the home, so that later processes find them without computing.

    Call it where embeddings of the space are written. Arguments and errors are those of `resolve`.
    """
    if name is None:
        name, weights = home.model, home.weights
    if centre is None:
        centre = chosen_centre(home, name)
        if isinstance(home.settings.centre, Path):
            keep_mean(home, home.settings.centre)
    asked = _asked(home, name, weights, decoding, pooling, centre)
    model = _resolved(home, asked, mean_file(home, centre))
    record = {
        "stamp": _stamp(model.weights),
        "weights": str(weights) if weights else None,
        **model.space.as_metadata(),
    }
    atomic_files.write_json(asked.record(home), record)
    return model


def _resolved(home: Home, asked: _Asked, mean: Path | None) -> Model:
    file = find_weights(asked.name, asked.weights)
    space = _recorded(asked.record(home), _stamp(file))
    if space is None:
        space = _define(asked, file, mean)
        _check_source(home, space)
    return Model(space, file, mean)


def _stamp(file: Path | None) -> list[int] | None:
    """Size and modification time of a weights file: a record of a space holds as long as they stay."""
    return None if file is None else [file.stat().st_size, file.stat().st_mtime_ns]


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


def space_of_last_run(home: Home) -> EmbeddingSpace | None:
    """The space of the model that the home has recorded, with the recorded decoding, pooling and mean.

    Homes of older versions have no decoding and pooling in their record. There it is the space with the settings'
    decoding and pooling, else the only one that the home remembers of this model. None where no model is recorded, or
    which of several spaces it was can't be known.
    """
    record = home.record
    name, centre = record.model, record.centre or ""
    if name is None:
        return None
    weights = Path(record.weights) if record.weights else None
    exact = _recorded(_asked(home, name, weights, record.decoding, record.pooling, centre).record(home))
    if exact is not None:
        return exact
    spaces = {
        known.space
        for known in remembered(home)
        if (known.space.model, known.weights, known.space.centre) == (name, weights, centre)
    }
    return spaces.pop() if len(spaces) == 1 else None


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
