"""The undo file: each line is whole and on the disk before a file is moved; what a killed process left is no line."""

import json
import os
from pathlib import Path

import pytest

from imgret_assets.domain.review.undo_file import MOVED, MOVING, NOT_MOVED, MovedFile, UndoFile, read_undo_file
from imgret_assets.errors import DecisionError
from imgret_assets.image_roots import ImageRoots

# A name with a byte that is not UTF-8, as Python has it.
ODD_ROOT = Path(os.fsdecode(b"/images \xff"))


def moved_file(number: int, **changes: object) -> MovedFile:
    values = {"path": f"a/{number}.jpg", "sha256": "ab", "bytes": 7, "link": None, "keep": "k.jpg", "batch": "b"}
    return MovedFile(number, **{**values, "moved_to": f"a/{number}.jpg", **changes})  # pyright: ignore[reportArgumentType]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "undo.jsonl"
    with UndoFile(file) as undo_file:
        undo_file.start(ImageRoots.plain(ODD_ROOT), at="2026-01-01T00:00:00Z", to_trash=False)
        for number in range(3):
            undo_file.announce(moved_file(number))
            assert read_undo_file(file).files[-1] == moved_file(number)
        undo_file.finish(0, MOVED)
        undo_file.finish(1, NOT_MOVED, "it has changed")
    return file


def test_the_last_line_of_a_file_is_in_force(path: Path) -> None:
    content = read_undo_file(path)
    assert (content.root, content.to_trash) == (ImageRoots.plain(ODD_ROOT), False)
    assert [(file.number, file.state) for file in content.files] == [(0, MOVED), (1, NOT_MOVED), (2, MOVING)]


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_line_without_its_end_is_none(path: Path, cut: int) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    assert [file.state for file in read_undo_file(path).files] == [MOVED, MOVING, MOVING]
    # The next writer removes it, so that its own lines are whole.
    with UndoFile(path) as undo_file:
        undo_file.finish(2, MOVED)
    assert [file.state for file in read_undo_file(path).files] == [MOVED, MOVING, MOVED]


def test_one_process_at_a_time_writes(path: Path) -> None:
    with UndoFile(path), pytest.raises(DecisionError, match="in use by another imgret"):
        UndoFile(path)


@pytest.mark.parametrize(
    ("line", "change"),
    [
        (1, "no json"),
        (1, json.dumps({"version": 1})),
        (2, json.dumps({"state": MOVING, "number": 9})),
        (3, json.dumps({"state": MOVED, "number": 99})),
    ],
)
def test_a_damaged_line_is_named(path: Path, line: int, change: str) -> None:
    lines = path.read_text().splitlines()
    lines[line - 1] = change
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(DecisionError, match=f"Line {line} of .*undo.jsonl is damaged"):
        read_undo_file(path)


@pytest.mark.parametrize("change", [{"path": "../a.jpg"}, {"moved_to": "/etc/a.jpg"}])
def test_a_path_that_leads_out_of_its_folder_is_refused(path: Path, change: dict[str, object]) -> None:
    with UndoFile(path) as undo_file:
        undo_file.announce(moved_file(3, **change))
    with pytest.raises(DecisionError, match=r"Line 7 .* is damaged"):
        read_undo_file(path)


def test_another_version_and_no_file_are_named(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    with pytest.raises(DecisionError, match="can't be read"):
        read_undo_file(file)
    file.write_text("")
    with pytest.raises(DecisionError, match="is empty"):
        read_undo_file(file)
    file.write_text('{"version": 2}\n')
    with pytest.raises(DecisionError, match="of version 2"):
        read_undo_file(file)
