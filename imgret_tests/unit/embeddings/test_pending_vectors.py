"""Tests of the store of pending vectors: exact round trip, all or none, survival of a killed process."""

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from imgret_assets.domain.embeddings.pending_vectors import EmbeddingResult, PendingVectors
from imgret_assets.domain.storage import sqlite
from imgret_assets.errors import DiskFullError
from imgret_tests.support.processes import Process


@pytest.fixture
def store(tmp_path: Path) -> PendingVectors:
    return PendingVectors(tmp_path / "work", "fake-12345678")


def vector(number: int) -> EmbeddingResult:
    return EmbeddingResult("ok", None, "fake", np.arange(number, number + 4, dtype=np.float32))


FAILED = EmbeddingResult("truncated", "it ends early", None, None)


def test_results_are_returned_bit_by_bit(store: PendingVectors) -> None:
    odd = EmbeddingResult("ok", None, "torch", np.array([1e-45, -0.0, 3.4e38, np.pi], dtype=np.float32))
    store.put_many([("a", vector(1)), ("b", FAILED), ("c", odd)])
    found = store.get_many(["a", "b", "c", "d"])
    assert sorted(found) == ["a", "b", "c"]
    assert found["b"] == FAILED
    assert (found["c"].status, found["c"].engine) == ("ok", "torch")
    for name, expected in (("a", vector(1)), ("c", odd)):
        stored = found[name].vector
        assert stored is not None
        assert stored.dtype == np.float32
        assert stored.tobytes() == expected.vector.tobytes()  # type: ignore[union-attr]


def test_reading_a_missing_store_creates_no_file(store: PendingVectors) -> None:
    assert store.get_many(["a"]) == {}
    assert store.known(["a"]) == set()
    store.delete_many(["a"])
    store.put_many([])
    assert store.count() == 0
    assert not store.path.exists()


def test_known_contents_and_deletion(store: PendingVectors) -> None:
    store.put_many((str(number), vector(number)) for number in range(5))
    assert store.known(["0", "4", "5"]) == {"0", "4"}
    store.delete_many(["0", "5"])
    assert store.known(["0", "4"]) == {"4"}
    assert store.count() == 4


def test_more_contents_than_one_statement_takes(store: PendingVectors, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "MAX_VALUES", 3)
    names = [str(number) for number in range(10)]
    store.put_many((name, vector(int(name))) for name in names)
    assert store.known(names) == set(names)
    assert sorted(store.get_many(names)) == names


def test_a_content_stored_again_is_replaced(store: PendingVectors) -> None:
    store.put_many([("a", FAILED)])
    store.put_many([("a", vector(7))])
    assert store.get_many(["a"])["a"].status == "ok"
    assert store.count() == 1


def test_all_results_are_stored_or_none(store: PendingVectors) -> None:
    store.put_many([("before", vector(1))])
    with pytest.raises(AttributeError):
        store.put_many([("a", vector(2)), ("b", None)])  # type: ignore[list-item]
    with pytest.raises(sqlite3.IntegrityError):
        store.put_many([("a", vector(2)), ("b", EmbeddingResult(None, None, None, None))])  # type: ignore[arg-type]
    assert store.known(["before", "a", "b"]) == {"before"}


def test_each_space_has_a_store(store: PendingVectors, tmp_path: Path) -> None:
    store.put_many([("a", vector(1))])
    assert PendingVectors(tmp_path / "work", "other-12345678").known(["a"]) == set()


def test_a_full_disk_is_named(store: PendingVectors, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(sqlite3.Connection):
        def executemany(self, *_: object) -> sqlite3.Cursor:
            raise sqlite3.OperationalError("database or disk is full")

    real = sqlite3.connect
    monkeypatch.setattr(sqlite.sqlite3, "connect", lambda path, timeout: real(path, timeout, factory=Full))
    with pytest.raises(DiskFullError, match=r"No room on the disk for .*fake-12345678\.sqlite.*goes on where it was"):
        store.put_many([("a", vector(1))])


def test_stored_results_survive_kill_9(store: PendingVectors, tmp_path: Path) -> None:
    code = """
from pathlib import Path
import numpy as np
from imgret_assets.domain.embeddings.pending_vectors import EmbeddingResult, PendingVectors
store = PendingVectors(Path(sys.argv[1]), "fake-12345678")
store.put_many([("a", EmbeddingResult("ok", None, "fake", np.ones(4, np.float32)))])
say("put")
wait()
"""
    with Process(code, [tmp_path / "work"]) as process:
        assert process.hear() == "put"
        process.kill()
    assert store.known(["a"]) == {"a"}
