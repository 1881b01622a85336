"""Results of finished blocks in files."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from imgret_assets.domain.similarity import checkpoints
from imgret_assets.domain.similarity.checkpoints import FinishedBlocks, search_key
from imgret_assets.domain.similarity.pair_arrays import ScoredPairs, merge_pairs
from imgret_tests.support.vector_sets import assert_same_pairs


@pytest.fixture
def parts() -> list[ScoredPairs]:
    """Results of five blocks."""
    return [
        ScoredPairs(np.array([block, block]), np.array([block + 1, block + 2]), np.array([0.5, block / 8]))
        for block in range(5)
    ]


def read(work_folder: Path, key: str = "key") -> tuple[list[ScoredPairs], list[int]]:
    finished = list(FinishedBlocks(work_folder, key).read())
    return [pairs for pairs, _ in finished], [count for _, count in finished]


def test_results_are_read_in_the_order_of_the_blocks(
    tmp_path: Path, parts: list[ScoredPairs], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "CHECKPOINT_S", 0.0)
    finished = FinishedBlocks(tmp_path, "key")
    for number, pairs in enumerate(parts[:3], 1):
        finished.add(pairs, number)
    assert finished.count == 3
    second = FinishedBlocks(tmp_path, "key")
    results = list(second.read())
    assert [count for _, count in results] == [1, 2, 3]
    assert_same_pairs(merge_pairs(pairs for pairs, _ in results), merge_pairs(parts[:3]))
    assert second.count == 3
    # The second run goes on with the fourth block.
    second.add(parts[3], 4)
    assert read(tmp_path)[1] == [1, 2, 3, 4]


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
def test_the_blocks_of_a_damaged_file_are_searched_again(
    tmp_path: Path,
    parts: list[ScoredPairs],
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[bytes], bytes],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(checkpoints, "CHECKPOINT_S", 0.0)
    finished = FinishedBlocks(tmp_path, "key")
    for number, pairs in enumerate(parts[:3], 1):
        finished.add(pairs, number)
    file = sorted((tmp_path / "key").iterdir())[1]
    file.write_bytes(damage(file.read_bytes()))
    assert read(tmp_path)[1] == [1]
    [warning] = caplog.messages
    assert f"{file} is damaged" in warning


def test_blocks_that_wait_share_a_file(
    tmp_path: Path, parts: list[ScoredPairs], monkeypatch: pytest.MonkeyPatch
) -> None:
    finished = FinishedBlocks(tmp_path, "key")
    for number, pairs in enumerate(parts[:3], 1):
        finished.add(pairs, number)
    assert read(tmp_path) == ([], []), "nothing is written before its time"
    monkeypatch.setattr(checkpoints, "CHECKPOINT_S", 0.0)
    finished.add(parts[3], 4)
    (pairs,), counts = read(tmp_path)
    assert counts == [4]
    assert_same_pairs(pairs, merge_pairs(parts[:4]))


def test_results_of_another_search_are_removed(
    tmp_path: Path, parts: list[ScoredPairs], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "CHECKPOINT_S", 0.0)
    FinishedBlocks(tmp_path, "key").add(parts[0], 1)
    (tmp_path / "file.npz").write_bytes(b"")
    assert read(tmp_path, "other") == ([], [])
    assert [path.name for path in tmp_path.iterdir()] == ["file.npz"], "files beside the folders stay"


def test_a_finished_search_leaves_nothing(
    tmp_path: Path, parts: list[ScoredPairs], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "CHECKPOINT_S", 0.0)
    finished = FinishedBlocks(tmp_path, "key")
    finished.add(parts[0], 1)
    finished.remove()
    assert list(tmp_path.iterdir()) == []
    finished.remove()


def test_without_a_folder_nothing_is_kept(parts: list[ScoredPairs]) -> None:
    finished = FinishedBlocks(None, "key")
    finished.add(parts[0], 1)
    assert (list(finished.read()), finished.count) == ([], 0)
    finished.remove()


def test_a_key_depends_on_all_that_results_depend_on() -> None:
    digests = np.arange(6, dtype=np.uint64).reshape(3, 2)
    keys = [
        search_key(digests, None, 0.8, 48),
        search_key(digests, None, 0.9, 48),
        search_key(digests, None, 0.8, 64),
        search_key(digests, np.arange(3), 0.8, 48),
        search_key(digests, np.arange(2), 0.8, 48),
        search_key(digests[::-1], None, 0.8, 48),
        search_key(digests.reshape(2, 3), None, 0.8, 48),
    ]
    assert len(set(keys)) == len(keys)
    assert search_key(digests.copy(), None, 0.8, 48) == keys[0]
    assert all(len(key) == 16 for key in keys)
