"""Moving what decisions made superfluous, over random trees: no content loses its last file.

Files are changed, removed and replaced between the last run and the moves, and while they go on; decisions are undone;
the process ends at any move. Afterwards everything can be put back.
"""

import os
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from imgret_assets.domain.duplicates.usable_images import load_files
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.review.apply_removals import Applied, apply_removals, restore_files
from imgret_assets.domain.review.decision_log import read_decisions, undo
from imgret_assets.domain.review.removals import list_removals
from imgret_assets.domain.review.undo_file import MovedFile
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.image_roots import ImageRoots
from imgret_assets.settings import load_settings
from imgret_tests.support.removal_trees import decide, plant_tree, readable, replacements

MAX_BYTES = 10**9


class Killed(BaseException):
    """What ends a run at any place."""


def change_bytes(file: Path) -> None:
    """Change a content such that the file system shows no change: in place, with the same size and time."""
    status = file.stat()
    data = bytearray(file.read_bytes())
    data[-1] ^= 0xFF
    with file.open("r+b") as opened:
        opened.write(data)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def replace_by_link(file: Path) -> None:
    """Replace a file by a link to another file of the tree."""
    others = sorted(other for other in file.parent.glob("*.png") if other != file and not other.is_symlink())
    file.unlink()
    if others:
        file.symlink_to(others[0].name)


def replace_folder_by_link(file: Path) -> None:
    """Replace the folder of a file by a link to it under a hidden name."""
    folder = file.parent
    if folder.name in ("albums", "deep"):
        folder.rename(folder.with_name(f".{folder.name}"))
        folder.symlink_to(f".{folder.name}")


CHANGES: tuple[Callable[[Path], None], ...] = (change_bytes, Path.unlink, replace_by_link, replace_folder_by_link)


def change_something(root: Path, rng: np.random.Generator) -> None:
    files = sorted(file for file in root.rglob("*.png") if file.is_file() and not file.is_symlink())
    if files:
        CHANGES[rng.integers(len(CHANGES))](files[rng.integers(len(files))])


class Tree:
    """A tree with decisions, and what it held when it was last changed by others.

    Args:
        home: the home, whose image root is the tree.
        seed: of everything random.
    """

    def __init__(self, home: Home, seed: int) -> None:
        self.home = home
        self.rng = np.random.default_rng(seed)
        plant_tree(home.images.folder, home.images.folder.with_name(f"{seed}-outside"), self.rng)
        refresh_manifest(home)
        decide(home, load_files(home), self.rng)
        self.protected_by_path = {
            path: sha256 for path, sha256 in readable(home.images.folder).items() if path.startswith("safe/")
        }
        self.same_image = replacements(set(), read_decisions(home))
        self.reference = readable(home.images.folder)
        self.to = home.images.folder.with_name(f"{seed}-moved")

    def disturb(self) -> None:
        """Change the tree or the decisions as others would."""
        if self.rng.random() < 0.2 and (batches := [event.batch for event in read_decisions(self.home).events]):
            if not read_decisions(self.home).is_undone(batches[-1]):
                undo(self.home, batches[-1])
                # An earlier decision may be in force again.
                for sha256, contents in replacements(set(), read_decisions(self.home)).items():
                    self.same_image[sha256] |= contents
        else:
            change_something(self.home.images.folder, self.rng)
        self.reference = readable(self.home.images.folder)

    def on_move(self, file: MovedFile) -> None:
        """Before a move: the file kept instead may be changed, or the process may end."""
        kind = self.rng.integers(8)
        if kind == 0:
            keep = self.home.images.local(file.keep)
            CHANGES[self.rng.integers(3)](keep)
            self.reference = readable(self.home.images.folder)
        elif kind == 1:
            self.disturb()
        elif kind == 2:
            raise Killed

    def apply(self) -> Applied:
        """Move what is to be moved; start again as often as the process ends."""
        while True:
            try:
                return apply_removals(self.home, list_removals(self.home).files, self.to, on_move=self.on_move)
            except Killed:
                continue


@pytest.mark.usefixtures("settled")
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "trees", [pytest.param(40, id="sample"), pytest.param(600, id="all", marks=pytest.mark.exhaustive)]
)
def test_no_content_loses_its_last_file(tmp_path: Path, trees: int) -> None:
    outcomes = Counter[str]()
    home = open_home(load_settings({"home": tmp_path / "home", "images": tmp_path / "none", "shards": 1}))
    for seed in range(trees):
        (home.path / "decisions.jsonl").unlink(missing_ok=True)
        shutil.rmtree(home.path / "decisions.copies", ignore_errors=True)
        settings = replace(home.settings, images=ImageRoots.plain(tmp_path / f"{seed}"), protected=("safe",))
        tree = Tree(replace(home, settings=settings), seed)
        if seed % 2:
            tree.disturb()
        applied = tree.apply()
        after = readable(tree.home.images.folder)
        for path, sha256 in tree.reference.items():
            case = f"tree {seed}: {path} of {tree.reference}, moved {applied.done}"
            assert tree.same_image.get(sha256, {sha256}) & {*after.values()}, case
        for path, sha256 in tree.protected_by_path.items():
            if tree.reference.get(path) == sha256:
                assert after.get(path) == sha256, f"tree {seed}: {path} is protected"
        outcomes["moved"] += len(applied.done)
        outcomes["refused"] += len(applied.refused)

        undo_files = sorted(tree.to.glob("*.jsonl"))
        restored = [restore_files(file, max_bytes=MAX_BYTES) for file in undo_files]
        assert not [entry for one in restored for entry in one.refused if "another file" not in entry[1]], (
            f"tree {seed}"
        )
        again = readable(tree.home.images.folder)
        assert {path: again.get(path) for path in tree.reference} == tree.reference, f"tree {seed}"
        assert sum(len(restore_files(file, max_bytes=MAX_BYTES).done) for file in undo_files) == 0
        outcomes["restored"] += sum(len(one.done) for one in restored)
    assert all(outcomes[kind] > trees / 8 for kind in ("moved", "refused", "restored")), outcomes
