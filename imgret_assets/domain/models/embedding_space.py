"""The record of an embedding space.

Belongs here: the id of a space and what it is made of. Not here: resolving a model (`domain.models.registry`).
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from imgret_assets.domain.models.preprocessing import Preprocessing

if TYPE_CHECKING:
    pass


MAX_INDEXED_DIM = 4096


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
