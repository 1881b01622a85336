"""Change detection: which shards' files differ from their manifests, a bounded part of the folders at a time.

Belongs here: the walk that a cursor resumes, the comparison of listing fingerprints. Not here: requesting a run
(`defs.sensors`), reading files (`domain.images.manifest`).
"""

import hashlib
import json
import time
from dataclasses import asdict, dataclass, field

from imgret_assets.domain.images.files import ListingFingerprint, check_roots, list_folder, shard_of
from imgret_assets.domain.images.manifest import read_manifest_metadata
from imgret_assets.domain.storage.home import Home
from imgret_assets.image_roots import AnyRoot


@dataclass
class Cursor:
    """State of an unfinished walk.

    Attributes:
        root: text of the image roots.
        shards: number of shards.
        pending: folders that are still to be listed.
        fingerprints: text of each shard's listing fingerprint so far.
        files: number of candidates so far.
    """

    root: str = ""
    shards: int = 0
    pending: list[str] = field(default_factory=lambda: [""])
    fingerprints: dict[str, str] = field(default_factory=dict)
    files: int = 0

    def dump(self) -> str:
        """Return the text that a sensor stores."""
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str | None, root: AnyRoot, shards: int) -> "Cursor":
        """Parse a stored text; return a new cursor if it is of another root or number of shards, or can't be parsed."""
        try:
            cursor = cls(**json.loads(text or ""))
        except (ValueError, TypeError):
            cursor = cls()
        if (cursor.root, cursor.shards) != (str(root), shards):
            cursor = cls(root=str(root), shards=shards)
        return cursor


@dataclass(frozen=True)
class Changes:
    """Result of a finished walk.

    Attributes:
        shards: keys of the shards whose files differ from their manifests.
        key: names this difference; the same difference has the same key.
        files: number of candidates.
    """

    shards: list[str]
    key: str
    files: int

    @property
    def span(self) -> tuple[str, str]:
        """First and last changed shard: the smallest range that includes all."""
        return self.shards[0], self.shards[-1]


def detect_changes(home: Home, cursor: Cursor, *, max_files: int, max_seconds: float) -> tuple[Changes | None, Cursor]:
    """List more folders, and compare with the manifests when all folders have been listed.

    Args:
        home: the home.
        cursor: where the walk stands; it is changed.
        max_files: no further folder is listed after so many candidates.
        max_seconds: no further folder is listed after this time.

    Returns:
        None and the cursor to continue with while folders remain; else the changes, possibly of no shard, and a new
        cursor.

    Raises:
        RootError: an image root is missing or can't be listed.
    """
    root = check_roots(home.images)
    deadline = time.monotonic() + max_seconds
    fingerprints = {shard: ListingFingerprint.parse(text) for shard, text in cursor.fingerprints.items()}
    files = 0
    while cursor.pending and files < max_files and time.monotonic() < deadline:
        candidates, subfolders = list_folder(root, cursor.pending.pop())
        for candidate in candidates:
            shard = shard_of(candidate.path, cursor.shards)
            fingerprints.setdefault(shard, ListingFingerprint()).add(candidate)
        files += len(candidates)
        cursor.pending.extend(reversed(subfolders))
    cursor.files += files
    cursor.fingerprints = {shard: str(fingerprint) for shard, fingerprint in fingerprints.items()}
    if cursor.pending:
        return None, cursor
    listed = {shard: cursor.fingerprints.get(shard, str(ListingFingerprint())) for shard in home.shards}
    known = {shard: manifest_fingerprint(home, root, shard) for shard in home.shards}
    changed = [shard for shard in home.shards if known[shard] != listed[shard]]
    # The key names both states: the same files may come back after others were there in between.
    steps = [f"{shard}={known[shard]}>{listed[shard]}" for shard in changed]
    key = hashlib.sha256("\n".join([str(root), *steps]).encode()).hexdigest()[:16]
    return Changes(changed, key, cursor.files), Cursor(root=cursor.root, shards=cursor.shards)


def manifest_fingerprint(home: Home, root: AnyRoot, shard: str) -> str | None:
    """Return the listing fingerprint in a shard's manifest; None where there is no manifest of this root."""
    metadata = read_manifest_metadata(home, shard)
    return metadata.fingerprint if metadata is not None and metadata.root == str(root) else None
