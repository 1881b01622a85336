"""Noticing that files have changed, a bounded piece of the tree at a time.

Belongs here: the walk that a cursor resumes, and which shards differ from their manifests. Not here: asking
for a run (`defs.sensors`), reading files (`domain.images.manifest`).
"""

import hashlib
import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from imgret_assets.domain.images.files import Fingerprint, check_root, list_folder, shard_of
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home


@dataclass
class Cursor:
    """Where a walk stands: folders still to list, and each shard's fingerprint so far."""

    root: str = ""
    shards: int = 0
    pending: list[str] = field(default_factory=lambda: [""])
    prints: dict[str, str] = field(default_factory=dict)
    files: int = 0

    def dump(self) -> str:
        """As a sensor keeps it."""
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str | None, root: Path, shards: int) -> "Cursor":
        """The cursor of that text; a fresh one where it is of another root or number of shards, or unreadable."""
        try:
            cursor = cls(**json.loads(text or ""))
        except (ValueError, TypeError):
            cursor = cls()
        if (cursor.root, cursor.shards) != (str(root), shards):
            cursor = cls(root=str(root), shards=shards)
        return cursor


@dataclass(frozen=True)
class Changes:
    """Shards whose listed files differ from their manifests, and a key that names this very difference."""

    shards: list[str]
    key: str
    files: int

    @property
    def span(self) -> tuple[str, str]:
        """First and last changed shard: the smallest contiguous range that holds all."""
        return self.shards[0], self.shards[-1]


def look(home: Home, cursor: Cursor, *, max_files: int, max_seconds: float) -> tuple[Changes | None, Cursor]:
    """List some more folders; the changes, once all have been listed.

    Returns:
        None and the cursor to go on with while folders remain; else the changes (maybe of no shard) and a
        fresh cursor.

    Raises:
        RootError: the image root is missing or can't be listed.
    """
    root = check_root(home.images)
    deadline = time.monotonic() + max_seconds
    prints = {shard: Fingerprint.parse(text) for shard, text in cursor.prints.items()}
    seen = 0
    while cursor.pending and seen < max_files and time.monotonic() < deadline:
        candidates, subfolders = list_folder(root, cursor.pending.pop())
        for candidate in candidates:
            prints.setdefault(shard_of(candidate.path, cursor.shards), Fingerprint()).add(candidate)
        seen += len(candidates)
        cursor.pending.extend(reversed(subfolders))
    cursor.files += seen
    cursor.prints = {shard: str(found) for shard, found in prints.items()}
    if cursor.pending:
        return None, cursor
    listed = {shard: cursor.prints.get(shard, str(Fingerprint())) for shard in home.shards}
    known = {shard: known_fingerprint(home, root, shard) for shard in home.shards}
    changed = [shard for shard in home.shards if known[shard] != listed[shard]]
    # From what to what: the same files can be there twice, with others in between.
    steps = [f"{shard}={known[shard]}>{listed[shard]}" for shard in changed]
    key = hashlib.sha256("\n".join([str(root), *steps]).encode()).hexdigest()[:16]
    return Changes(changed, key, cursor.files), Cursor(root=cursor.root, shards=cursor.shards)


def known_fingerprint(home: Home, root: Path, shard: str) -> str | None:
    """The fingerprint in a shard's manifest; None where there is none of this root."""
    path = tables.manifest_path(home.warehouse, shard)
    metadata = tables.read_metadata(path) if path.is_file() else {}
    return metadata.get("fingerprint") if metadata.get("root") == str(root) else None
