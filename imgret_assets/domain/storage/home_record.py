"""The record of a home: home.json.

Belongs here: what a home remembers. Not here: the folder's layout (`domain.storage.home`).
"""

import json
from dataclasses import dataclass
from pathlib import Path

from imgret_assets.errors import HomeError


@dataclass(frozen=True)
class HomeRecord:
    """What a home remembers, so that a later run without flags goes on with the same collection.

    Attributes:
        id: a random identifier; the graph carries it.
        shards: number of partitions, fixed at first use (`imgret reshard` changes it).
        root: absolute image root the tables were last built from.
        model: name of the model of the last run.
        weights: file given with it.
        threshold: the last run's threshold.
        decoding, pooling: how the model's space was chosen, as the settings say it.
        centre: SHA-256 of the mean that was taken from its vectors, which the home keeps (`domain.models.means`); None
            where none was.
        engine: what made its vectors, `openvino` or `torch`.
        precision: in which number format, such as `float32`.
    """

    id: str
    shards: int
    root: str | None = None
    model: str | None = None
    weights: str | None = None
    threshold: float | None = None
    engine: str | None = None
    precision: str | None = None
    decoding: str | None = None
    pooling: str | None = None
    centre: str | None = None


def shard_keys(count: int) -> list[str]:
    """Keys of `count` shards: two hex digits each, in order."""
    return [f"{number:02x}" for number in range(count)]


def record_path(folder: Path) -> Path:
    """Where a home keeps its record."""
    return folder / "home.json"


def read_record(folder: Path) -> HomeRecord | None:
    """The home's record; None where the folder is no home yet.

    Raises:
        HomeError: the record can't be understood.
    """
    path = record_path(folder)
    try:
        return HomeRecord(**json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError) as error:
        raise HomeError(
            f"{path} is not a home's record ({error})", remedy="restore it from a backup, or use another IMGRET_HOME"
        ) from error
