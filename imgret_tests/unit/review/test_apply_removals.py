"""Moving what decisions made superfluous: what is checked at that moment, and what is put back.

Random trees and killed processes are in `properties/test_applied_removals.py`.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from imgret_assets.domain.duplicates.duplicate_search import EXACT
from imgret_assets.domain.review.apply_removals import Applied, apply_removals, check_destination, restore_files
from imgret_assets.domain.review.decision_log import record, undo
from imgret_assets.domain.review.removals import list_removals
from imgret_assets.domain.review.undo_file import MOVED, NOT_MOVED, MovedFile, read_undo_file
from imgret_assets.domain.runtime.progress import Progress
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import DecisionError
from imgret_tests.unit.review.library import only_set, with_protected

pytestmark = pytest.mark.usefixtures("settled")
MAX_BYTES = 10**9
KEPT, MOVED_PATH = "scene2.png", "again/scene2.png"


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / "moved"


@pytest.fixture
def batch(duplicated: Home) -> str:
    """The decision that one of two files with equal bytes is not needed."""
    return record(duplicated, only_set(duplicated, EXACT).decide_proposal())


def apply(home: Home, to: Path | None, **options: object) -> Applied:
    return apply_removals(home, list_removals(home).files, to, **options)  # pyright: ignore[reportArgumentType]


def change_unseen(file: Path) -> None:
    """Change a content such that size, time and inode stay."""
    status = file.stat()
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    with file.open("r+b") as opened:
        opened.write(data)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.usefixtures("batch")
def test_files_are_moved_under_their_paths_and_put_back(duplicated: Home, to: Path) -> None:
    file = duplicated.images.local(MOVED_PATH)
    data, size = file.read_bytes(), file.stat().st_size
    applied = apply(duplicated, to)
    assert (applied.done, applied.bytes, applied.refused) == ([MOVED_PATH], size, [])
    assert (file.exists(), (to / MOVED_PATH).read_bytes()) == (False, data)
    assert applied.undo_file is not None
    assert applied.undo_file.parent == to
    [entry] = read_undo_file(applied.undo_file).files
    assert (entry.path, entry.keep, entry.moved_to, entry.state) == (MOVED_PATH, KEPT, MOVED_PATH, MOVED)
    restored = restore_files(applied.undo_file, max_bytes=MAX_BYTES)
    assert (restored.done, restored.bytes, file.read_bytes()) == ([MOVED_PATH], size, data)
    assert restore_files(applied.undo_file, max_bytes=MAX_BYTES).done == []


@pytest.mark.usefixtures("batch")
def test_a_file_stays_whose_content_or_kept_file_is_not_as_recorded(duplicated: Home, to: Path) -> None:
    removals = list_removals(duplicated).files
    change_unseen(duplicated.images.local(KEPT))
    assert list_removals(duplicated).files == removals
    [(path, reason)] = apply(duplicated, to).refused
    assert (path, reason) == (MOVED_PATH, f"stays: {KEPT}, kept instead, has another content than at the last run")
    change_unseen(duplicated.images.local(KEPT))
    change_unseen(duplicated.images.local(MOVED_PATH))
    [(path, reason)] = apply(duplicated, to).refused
    assert (path, reason) == (MOVED_PATH, "has another content than at the last run")
    assert duplicated.images.local(MOVED_PATH).is_file()


@pytest.mark.usefixtures("batch")
def test_a_file_stays_if_the_kept_one_vanishes_meanwhile(duplicated: Home, to: Path) -> None:
    def remove_kept(file: MovedFile) -> None:
        duplicated.images.local(file.keep).unlink()

    applied = apply(duplicated, to, on_move=remove_kept)
    assert applied.done == []
    assert duplicated.images.local(MOVED_PATH).is_file()
    assert applied.undo_file is not None
    assert [file.state for file in read_undo_file(applied.undo_file).files] == [NOT_MOVED]


def test_an_undone_decision_counts_at_once(duplicated: Home, to: Path, batch: str) -> None:
    removals = list_removals(duplicated).files
    undo(duplicated, batch)
    [(path, reason)] = apply_removals(duplicated, removals, to).refused
    assert path == MOVED_PATH
    assert "not removable any more" in reason


@pytest.mark.usefixtures("batch")
def test_a_protected_file_stays_also_behind_a_link(duplicated: Home, to: Path) -> None:
    removals = list_removals(duplicated).files
    assert apply(with_protected(duplicated, "again"), to).done == []
    [(_, reason)] = apply_removals(with_protected(duplicated, "again"), removals, to).refused
    assert "not removable" in reason
    # The folder becomes a link to a protected one: the path is the same, the files are others.
    duplicated.images.local("again").rename(duplicated.images / "safe")
    duplicated.images.local("again").symlink_to("safe")
    [(_, reason)] = apply_removals(with_protected(duplicated, "safe"), removals, to).refused
    assert reason == "is protected, or a folder on its path has become a link"
    assert duplicated.images.local("safe/scene2.png").is_file()


@pytest.mark.usefixtures("batch")
def test_a_name_that_is_taken_gets_a_number(duplicated: Home, to: Path) -> None:
    (to / "again").mkdir(parents=True)
    (to / MOVED_PATH).write_bytes(b"moved earlier")
    applied = apply(duplicated, to)
    assert (to / MOVED_PATH).read_bytes() == b"moved earlier"
    assert (to / "again/scene2 2.png").is_file()
    assert applied.undo_file is not None
    assert restore_files(applied.undo_file, max_bytes=MAX_BYTES).done == [MOVED_PATH]


@pytest.mark.usefixtures("batch")
def test_nothing_is_put_back_onto_another_file_or_with_another_content(duplicated: Home, to: Path) -> None:
    applied = apply(duplicated, to)
    assert applied.undo_file is not None
    duplicated.images.local(MOVED_PATH).write_bytes(b"new")
    [(_, reason)] = restore_files(applied.undo_file, max_bytes=MAX_BYTES).refused
    assert reason == "is not put back: another file is at its place"
    duplicated.images.local(MOVED_PATH).unlink()
    change_unseen(to / MOVED_PATH)
    [(_, reason)] = restore_files(applied.undo_file, max_bytes=MAX_BYTES).refused
    assert "another content" in reason
    change_unseen(to / MOVED_PATH)
    assert restore_files(applied.undo_file, max_bytes=MAX_BYTES).done == [MOVED_PATH]


@pytest.mark.usefixtures("batch")
def test_a_killed_process_leaves_the_truth(duplicated: Home, to: Path) -> None:
    """Killed before the move: the file is at its place. Killed after it, without the last line: it is put back."""
    program = (
        "import os, sys; from pathlib import Path\n"
        "from imgret_assets.domain.review.apply_removals import apply_removals\n"
        "from imgret_assets.domain.review.removals import list_removals\n"
        "from imgret_assets.domain.storage.home import open_home\n"
        "from imgret_assets.settings import load_settings\n"
        "home = open_home(load_settings({'home': sys.argv[1], 'images': sys.argv[2]}))\n"
        "apply_removals(home, list_removals(home).files, Path(sys.argv[3]), on_move=lambda file: os._exit(9))"
    )
    arguments = [sys.executable, "-c", program, *map(str, (duplicated.path, duplicated.images, to))]
    assert subprocess.run(arguments, check=False).returncode == 9
    [undo_file] = to.glob("*.jsonl")
    assert [file.path for file in read_undo_file(undo_file).files] == [MOVED_PATH]
    assert duplicated.images.local(MOVED_PATH).is_file()
    killed = restore_files(undo_file, max_bytes=MAX_BYTES)
    assert (killed.done, killed.refused) == ([], [])

    second = apply(duplicated, to).undo_file
    assert second is not None
    lines = second.read_bytes().splitlines(keepends=True)
    second.write_bytes(b"".join(lines[:-1]) + lines[-1][:10])
    assert restore_files(second, max_bytes=MAX_BYTES).done == [MOVED_PATH]


@pytest.mark.usefixtures("batch")
def test_an_interrupted_run_says_so_and_leaves_the_rest(duplicated: Home, to: Path) -> None:
    def interrupt(_: MovedFile) -> None:
        raise KeyboardInterrupt

    steps: list[Progress] = []
    applied = apply(duplicated, to, on_move=interrupt, progress=steps.append)
    assert (applied.interrupted, applied.done, steps) == (True, [], [])
    assert duplicated.images.local(MOVED_PATH).is_file()
    assert apply(duplicated, to, progress=steps.append).done == [MOVED_PATH]
    assert [(step.done, step.total) for step in steps] == [(1, 1)]


@pytest.mark.parametrize("folder", ["", "inside/deep", ".."])
def test_a_destination_that_a_run_would_list_is_refused(duplicated: Home, folder: str) -> None:
    with pytest.raises(DecisionError, match="Expected: a folder beside the image root"):
        check_destination(duplicated, duplicated.images.local(folder))


def test_nothing_to_move_makes_no_undo_file(duplicated: Home, to: Path) -> None:
    assert apply(duplicated, to) == Applied()
    assert not to.exists()
