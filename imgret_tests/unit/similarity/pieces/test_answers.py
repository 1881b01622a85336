"""Answers in files: whole, of their piece, or not used."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from imgret_assets.domain.similarity.pieces.answers import Answer, AnswerFiles
from imgret_assets.domain.similarity.pieces.chunks import Chunk
from imgret_assets.domain.similarity.pieces.work import Piece

LEFT, RIGHT = Chunk(0, 0, 5, "left"), Chunk(1, 5, 9, "right")
PIECE = Piece(LEFT, RIGHT, "first")
ANSWER = Answer(np.array([4, 0], np.int32), np.array([3, 1], np.int32), np.array([0.5, 0.25]))


def assert_same(answer: Answer | None, expected: Answer) -> None:
    assert answer is not None
    assert answer.left_out == expected.left_out
    for column, other in zip(answer[:3], expected[:3], strict=True):
        assert column.dtype == other.dtype
        np.testing.assert_array_equal(column, other)


def test_an_answer_is_read_as_it_was_written(tmp_path: Path) -> None:
    files = AnswerFiles(tmp_path / "answers")
    assert files.read(PIECE) is None
    files.write(PIECE, ANSWER)
    assert [path.name for path in (tmp_path / "answers").iterdir()] == ["first.npz"]
    assert_same(AnswerFiles(tmp_path / "answers").read(PIECE), ANSWER)
    assert files.read(Piece(LEFT, RIGHT, "second")) is None
    nothing = Answer(ANSWER.left[:0], ANSWER.right[:0], ANSWER.scores[:0], left_out=7)
    files.write(PIECE, nothing)
    assert_same(files.read(PIECE), nothing)


def test_equal_answers_are_equal_files(tmp_path: Path) -> None:
    paths = []
    for name in ("one", "two"):
        files = AnswerFiles(tmp_path / name)
        files.write(PIECE, ANSWER)
        paths.append(files.path(PIECE))
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda _: b"",
        lambda data: b"\xa5" * len(data),
        lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:],
    ],
    ids=["half", "empty", "garbage", "bit"],
)
def test_a_damaged_answer_is_removed(
    tmp_path: Path, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    files = AnswerFiles(tmp_path)
    files.write(PIECE, ANSWER)
    file = tmp_path / "first.npz"
    file.write_bytes(damage(file.read_bytes()))
    assert files.read(PIECE) is None
    assert not file.exists()
    [warning] = caplog.messages
    assert f"{file} is damaged" in warning


@pytest.mark.parametrize(
    "foreign",
    [
        {"key": np.array("second")},
        {"left": np.array([5, 0], np.int32)},
        {"right": np.array([3, -1], np.int32)},
        {"left": np.array([4], np.int32)},
        {"left": np.array([4, 0])},
        {"scores": np.array([0.5, 0.25], np.float32)},
        {"scores": np.array([[0.5, 0.25]])},
    ],
    ids=["key", "beyond the chunk", "negative", "short", "int64", "float32", "two axes"],
)
def test_the_answer_of_another_piece_is_removed(
    tmp_path: Path, foreign: dict[str, np.ndarray], caplog: pytest.LogCaptureFixture
) -> None:
    arrays = {"key": np.array("first"), **ANSWER._asdict()} | foreign
    np.savez(tmp_path / "first.npz", allow_pickle=False, **arrays)
    assert AnswerFiles(tmp_path).read(PIECE) is None
    assert list(tmp_path.iterdir()) == []
    assert "is compared again" in caplog.text


def test_all_answers_are_removed_with_those_of_earlier_versions(tmp_path: Path) -> None:
    files = AnswerFiles(tmp_path / "answers")
    files.write(PIECE, ANSWER)
    (tmp_path / "answers" / "0123").mkdir()
    (tmp_path / "answers" / "0123" / "000000000-000000004.npz").write_bytes(b"")
    (tmp_path / "beside.npz").write_bytes(b"")
    files.remove_all()
    assert [path.name for path in tmp_path.iterdir()] == ["beside.npz"]
    files.remove_all()


def test_without_a_folder_nothing_is_kept() -> None:
    files = AnswerFiles(None)
    files.write(PIECE, ANSWER)
    assert (files.read(PIECE), files.keep, files.path(PIECE)) == (None, False, None)
    files.remove_all()
