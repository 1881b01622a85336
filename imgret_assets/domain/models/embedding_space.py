"""The embedding space: what makes vectors comparable, and its id.

Belongs here: the record of a space, its id, its form in a table's metadata. Not here: finding the space of a model
(`domain.models.resolution`), the spaces that a home has used (`domain.models.space_records`).
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from imgret_assets.domain.models.preprocessing import Preprocessing

# Neo4j's vector index takes vectors of at most this many numbers.
MAX_INDEXED_DIM = 4096
# A model may be named by a folder's path; names of files have at most 255 bytes.
_LONGEST_NAME = 100


@dataclass(frozen=True)
class EmbeddingSpace:
    """What makes vectors comparable. Vectors of two spaces are never compared.

    Attributes:
        model: the model's name, as a user writes it.
        weights_sha256: SHA-256 of the weights file, of that file and its configuration where it lies in a folder with
            one, or of the bytes of all weights where there is no file.
        preprocessing: how images become input.
        dim: number of components of a vector.
        pooling: how the last features become a vector: `auto` for the model's own way, else `avg` or `gem`.
        centre: SHA-256 of the file with the mean that is subtracted from vectors of length 1; empty where vectors are
            the network's own.
        id: the model's name and eight hex digits of a hash of the other attributes. Tables, nodes and folders carry it.
    """

    model: str
    weights_sha256: str
    preprocessing: Preprocessing
    dim: int
    pooling: str = "auto"
    centre: str = ""
    id: str = field(init=False)

    def __post_init__(self) -> None:
        """Derive the id. What was added later is hashed only where it differs from the former way: old ids stay."""
        identity: dict[str, Any] = {
            "model": self.model,
            "weights_sha256": self.weights_sha256,
            "preprocessing": self.preprocessing.identity(),
            "dim": self.dim,
        }
        if self.pooling != "auto":
            identity["pooling"] = self.pooling
        if self.centre:
            identity["centre"] = self.centre
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        object.__setattr__(self, "id", f"{file_name_part(self.model)}-{digest[:8]}")

    def as_metadata(self) -> dict[str, str]:
        """Return the space as text values, for a table's file metadata."""
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
        """Return the space that a table's metadata names; older tables lack the fields that were added later."""
        values = json.loads(metadata["preprocessing"])
        preprocessing = Preprocessing(
            size=tuple(values["size"]),
            mean=tuple(values["mean"]),
            std=tuple(values["std"]),
            crop=values["crop"],
            interpolation=values["interpolation"],
            decoding=values.get("decoding", "full"),
            crop_mode=values.get("crop_mode", "center"),
            border=tuple(values["border"]) if values.get("border") else None,
        )
        return cls(
            metadata["model"],
            metadata["weights_sha256"],
            preprocessing,
            int(metadata["dim"]),
            metadata.get("pooling", "auto"),
            metadata.get("centre", ""),
        )


def file_name_part(model: str) -> str:
    """Return a model's name in the characters that names of files and spaces may have; the end of a long one."""
    return re.sub(r"[^a-z0-9_.-]", "_", model.lower())[-_LONGEST_NAME:]
