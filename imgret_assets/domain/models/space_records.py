"""A home's records of the embedding spaces it has used, one JSON file each.

Belongs here: what selects a space, where its record is, reading and writing it. Not here: the spaces themselves
(`domain.models.embedding_space`), computing the space of a model (`domain.models.resolution`).
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imgret_assets.domain.models.embedding_space import EmbeddingSpace, file_name_part
from imgret_assets.domain.storage import atomic_files
from imgret_assets.domain.storage.home import Home


@dataclass(frozen=True)
class ModelChoice:
    """What selects a model and its space before anything is loaded.

    Attributes:
        name: the model's name.
        weights: the weights file that the user named; None for the model's usual one.
        decoding: `full` or `scaled`.
        pooling: `auto`, `avg`, `gem` or `head`.
        centre: SHA-256 of the mean that is subtracted; empty for none.
    """

    name: str
    weights: Path | None
    decoding: str
    pooling: str
    centre: str

    def record_path(self, home: Home) -> Path:
        """Return the path of the home's record of the space."""
        key = f"{self.name}\n{self.weights or ''}\n{self.decoding}\n{self.pooling}"
        # Homes from before there were means find their records under the same names.
        key += f"\n{self.centre}" if self.centre else ""
        digest = hashlib.sha256(key.encode()).hexdigest()[:8]
        return home.path / "models" / f"{file_name_part(self.name)}-{digest}.json"


@dataclass(frozen=True)
class RecordedSpace:
    """A space that a home has used, and the weights file that the user named; None for the model's usual one."""

    space: EmbeddingSpace
    weights: Path | None


def recorded_spaces(home: Home) -> Iterator[RecordedSpace]:
    """Yield the spaces this home has used, in a fixed order; one may come several times, from copies of its weights."""
    for path in sorted((home.path / "models").glob("*.json")):
        record = read_json_record(path)
        try:
            weights = Path(record["weights"]) if record["weights"] else None
            yield RecordedSpace(EmbeddingSpace.from_metadata(record), weights)
        except (ValueError, KeyError, TypeError):
            continue


def read_space(home: Home, choice: ModelChoice) -> EmbeddingSpace | None:
    """Return the recorded space of a choice, even if the weights file has changed; None without a readable record."""
    return _space(read_json_record(choice.record_path(home)))


def read_current_space(home: Home, choice: ModelChoice, files: Sequence[Path]) -> EmbeddingSpace | None:
    """Return the recorded space of a choice if its record was made of these files as they are now, else None."""
    record = read_json_record(choice.record_path(home))
    return _space(record) if record.get("stamp", ()) == _stamp(files) else None


def write_space(home: Home, choice: ModelChoice, files: Sequence[Path], space: EmbeddingSpace) -> None:
    """Record the space of a choice, computed from these files."""
    record = {
        "stamp": _stamp(files),
        "weights": str(choice.weights) if choice.weights else None,
        **space.as_metadata(),
    }
    atomic_files.write_json(choice.record_path(home), record)


def read_json_record(path: Path) -> dict[str, Any]:
    """Read a JSON object; empty where the file is missing or damaged: it is only made again."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _space(record: dict[str, Any]) -> EmbeddingSpace | None:
    try:
        return EmbeddingSpace.from_metadata(record)
    except (ValueError, KeyError, TypeError):
        return None


def _stamp(files: Sequence[Path]) -> list[int] | None:
    """Return size and modification time of each file, by which a change is noticed without hashing; None for none."""
    numbers = [(file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return [number for pair in numbers for number in pair] or None
