"""What a home remembers of the embedding spaces it has used.

Belongs here: one JSON record a space. Not here: the spaces themselves (`domain.models.embedding_space`).
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.storage.home import Home

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class Remembered:
    """A space that this home has used, and the weights file it was given; None for the model's usual ones."""

    space: EmbeddingSpace
    weights: Path | None


def remembered(home: Home) -> Iterator[Remembered]:
    """The spaces this home has used, in a fixed order; one may come several times, from copies of its weights."""
    for record in sorted((home.path / "models").glob("*.json")):
        said = _read_record(record)
        try:
            yield Remembered(EmbeddingSpace.from_metadata(said), Path(said["weights"]) if said["weights"] else None)
        except (ValueError, KeyError, TypeError):
            continue


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
