"""The record of a home, `home.json`.

Belongs here: its fields, its version, reading and writing it. Not here: the folder's layout (`domain.storage.home`).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from imgret_assets.domain.storage import atomic_files
from imgret_assets.errors import HomeError, did_you_mean
from imgret_assets.locations import install_command
from imgret_assets.settings import MAX_SHARDS

# A change that an older imgret would misread raises it. An added field does not: older ones of this version keep it.
VERSION = 1
# The first field of the file. In another place it is one that an imgret which does not know it has copied.
_CHECK = "check"


@dataclass(frozen=True)
class HomeRecord:
    """What a home remembers, so that a later run without flags goes on with the same collection.

    Attributes:
        id: a random identifier; the graph carries it.
        shards: number of partitions, fixed at first use (`imgret reshard` changes it).
        root: absolute image root the tables were last built from.
        model: name of the model of the last run, or of the one that set-up chose.
        weights: weights file of that model.
        threshold: the last run's threshold.
        engine: the engine that computed the vectors, `openvino` or `torch`.
        precision: number format of that engine, such as `float32`.
        decoding, pooling: how the model's embedding space was chosen, in the words of the settings.
        centre: SHA-256 of the mean that was subtracted from the vectors, of which the home keeps a copy
            (`domain.models.means`); None for no mean.
        unknown_fields: fields of the file that this imgret does not know, kept for the imgret that wrote them.
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
    unknown_fields: Mapping[str, object] = field(default_factory=dict, hash=False)


_KNOWN_FIELDS = frozenset(known.name for known in fields(HomeRecord)) - {"unknown_fields"}


def shard_keys(count: int) -> list[str]:
    """Return the keys of `count` shards, in order."""
    return [shard_key(number, count) for number in range(count)]


def shard_key(number: int, count: int) -> str:
    """Return the key of one of `count` shards: two hex digits, or three where there are more than 256."""
    return f"{number:0{2 if count <= 256 else 3}x}"


def record_path(folder: Path) -> Path:
    """Return the path of a home's record."""
    return folder / "home.json"


def require_home(folder: Path) -> None:
    """Check that a folder is a home.

    Raises:
        HomeError: it has no record; the message names the home beside it whose name is nearest.
    """
    if record_path(folder).is_file():
        return
    homes = [file.parent.name for file in folder.parent.glob("*/home.json")] if folder.parent.is_dir() else []
    raise HomeError(
        f"There is no home in {folder}{did_you_mean(folder.name, homes)}",
        remedy="correct --home or IMGRET_HOME, or make a home there with `imgret run --images FOLDER`",
    )


def read_record(folder: Path) -> HomeRecord | None:
    """Return the home's record; None where the folder is not a home yet.

    A record without a version was written before there were any, and is one of version 1. One without a check was
    written by an earlier imgret.

    Raises:
        HomeError: the record is damaged, or of a newer version.
    """
    path = record_path(folder)
    try:
        values = dict(json.loads(path.read_text(encoding="utf-8")))
        is_checked = next(iter(values), None) == _CHECK
        check = values.pop(_CHECK, None)
        if is_checked and check != _check_of(values):
            raise ValueError("its check does not fit its content: a byte has changed")
        version = int(values.pop("version", VERSION))
        if version <= VERSION:
            known = {name: values.pop(name) for name in _KNOWN_FIELDS & values.keys()}
            return _validated(HomeRecord(**known, unknown_fields=values))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError) as error:
        raise HomeError(
            f"{path} is not a home's record ({error})",
            remedy="restore it from a backup, or use another IMGRET_HOME; if you have changed the file yourself, "
            f'remove the line "{_CHECK}" from it',
        ) from error
    raise HomeError(
        f"{path} has version {version}: a newer imgret has written it",
        expected=f"version {VERSION} or older",
        remedy=f"update imgret (`{install_command()}`, in a checkout after `git pull`), or use another IMGRET_HOME",
    )


def _validated(record: HomeRecord) -> HomeRecord:
    """Return the record if each field has a value of its kind; otherwise raise ValueError."""
    if type(record.shards) is not int or not 1 <= record.shards <= MAX_SHARDS:
        raise ValueError(f"shards is {record.shards!r}, not a number from 1 to {MAX_SHARDS}")
    if type(record.threshold) not in (int, float, type(None)):
        raise ValueError(f"threshold is {record.threshold!r}, not a number")
    for name in ("root", "model", "weights", "engine", "precision", "decoding", "pooling", "centre"):
        if not isinstance(value := getattr(record, name), str | None):
            raise ValueError(f"{name} is {value!r}, not text")
    if not isinstance(record.id, str):
        raise ValueError(f"id is {record.id!r}, not text")
    return record


def write_record(folder: Path, record: HomeRecord) -> None:
    """Write the home's record, whole or not at all; the caller holds the lock `home`."""
    values = asdict(record)
    unknown = values.pop("unknown_fields")
    content = {"version": VERSION, **values, **unknown}
    atomic_files.write_json(record_path(folder), {_CHECK: _check_of(content), **content})


def _check_of(values: Mapping[str, object]) -> str:
    """Return the SHA-256 of the fields, whatever their order and layout in the file."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
