"""Random trees of image files with copies, hard links, symbolic links, protected folders and decisions.

Belongs here: planting them, deciding at random, what a tree still holds. Not here: what is removed
(`properties.test_removal_lists`, `properties.test_applied_removals`).
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from imgret_assets.domain.duplicates.usable_images import UsableImage
from imgret_assets.domain.review.decision_log import record
from imgret_assets.domain.review.decisions import DUPLICATE, Decisions, File, keep_all, keep_one
from imgret_assets.domain.storage.home import Home
from imgret_tests.support.pictures import picture_bytes

# Contents 0 and 1 are near-duplicates of each other, as are 2 and 3; content 4 has none.
CONTENTS = [picture_bytes(seed) for seed in range(5)]
HASHES = [hashlib.sha256(data).hexdigest() for data in CONTENTS]
FAMILY_OF = {sha256: number // 2 for number, sha256 in enumerate(HASHES)}
FOLDERS = ("", "albums/", "safe/", "safe/deep/", "z/")


def plant_tree(root: Path, outside: Path, rng: np.random.Generator) -> None:
    """Write a random tree of files and links; some names of its files are outside the root."""
    root.mkdir()
    outside.mkdir()
    (outside / "beyond.png").write_bytes(CONTENTS[4])
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
    names: list[str] = []
    for number in range(int(rng.integers(2, 12))):
        name = f"{FOLDERS[rng.integers(len(FOLDERS))]}{'abcdefghijkl'[rng.integers(12)]}{number}.png"
        file = root / name
        target = root / names[rng.integers(len(names))] if names else None
        kind = rng.choice(["file", "file", "hard", "link", "link", "out", "unlisted", "hard outside"])
        if target is None or kind == "file":
            file.write_bytes(CONTENTS[rng.integers(len(CONTENTS))])
        elif kind == "hard":
            os.link(os.path.realpath(target), file)
        elif kind == "link":
            file.symlink_to(os.path.relpath(target, file.parent) if rng.random() < 0.5 else target)
        elif kind == "out":
            file.symlink_to(outside / "beyond.png")
        elif kind == "unlisted":
            hidden = file.with_name(f".{number}.png")
            hidden.write_bytes(CONTENTS[rng.integers(len(CONTENTS))])
            file.symlink_to(hidden.name)
        else:
            file.write_bytes(CONTENTS[rng.integers(len(CONTENTS))])
            os.link(file, outside / f"{number}.png")
        names.append(name)


def decide(home: Home, images: Sequence[UsableImage], rng: np.random.Generator) -> None:
    """Record some random decisions about files and links."""
    files = [File(image.path, image.sha256) for image in images]
    for _ in range(int(rng.integers(0, 4)) if len(files) > 1 else 0):
        chosen = [files[number] for number in rng.permutation(len(files))[: int(rng.integers(2, 4))]]
        allowed = [file for file in chosen[1:] if not file.path.startswith("safe/")]
        if rng.random() < 0.3:
            record(home, [keep_all(chosen)])
        elif allowed:
            record(home, [keep_one(chosen[0], allowed)])


def readable(root: Path) -> dict[str, str]:
    """Return the content of every visible name that can be read, links followed, by path."""
    found = {}
    for folder, _, names in os.walk(root):
        for name in names:
            file = Path(folder, name)
            if file.exists():
                found[file.relative_to(root).as_posix()] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


def stored_bytes(*roots: Path) -> int:
    """Return the size of all stored files below some folders, each once, links not followed."""
    files = [file.lstat() for root in roots for file in root.rglob("*") if file.is_file() and not file.is_symlink()]
    return sum({status.st_ino: status.st_size for status in files}.values())


def replacements(near: set[tuple[str, str]], decisions: Decisions) -> dict[str, set[str]]:
    """Return for each content those that people, or the pairs of near-duplicates, take for the same image."""
    steps = near | {(b, a) for a, b in near}
    for decision in decisions.in_force():
        if decision.verdict == DUPLICATE:
            kept, duplicate = decision.kept_and_duplicate
            steps.add((duplicate.sha256, kept.sha256))
    reached = {sha256: {sha256} for sha256 in HASHES}
    for _ in HASHES:
        for removed, kept in steps:
            for contents in reached.values():
                contents |= {kept} if removed in contents else set()
    return reached
