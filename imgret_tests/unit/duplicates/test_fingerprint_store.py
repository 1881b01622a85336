"""The store of fingerprints: what is written is read back, and nothing outlives its content or method."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from imgret_assets.domain.duplicates import fingerprint_store
from imgret_assets.domain.duplicates.fingerprint_store import FingerprintStore, MatchScore
from imgret_assets.domain.duplicates.fingerprints import FLAT, Fingerprint

SAME_PICTURE = MatchScore(3, 0.97, "same", "the same picture")


def fingerprint(number: int) -> Fingerprint:
    return Fingerprint("ok", bytes([number]) * 32, np.full((64, 64), number, np.uint8))


def filled_store(work: Path) -> FingerprintStore:
    store = FingerprintStore(work, "method", "pixels")
    store.put_fingerprints(
        [*((name, fingerprint(number)) for number, name in enumerate("abc")), ("f", Fingerprint(FLAT))]
    )
    store.put_match_scores([(("a", "b"), SAME_PICTURE), (("b", "c"), MatchScore(9, 0.5))])
    return store


def test_fingerprints_and_match_scores_are_read_back(tmp_path: Path) -> None:
    filled_store(tmp_path)
    store = FingerprintStore(tmp_path, "method", "pixels")
    assert store.hashes() == {"a": bytes(32), "b": b"\1" * 32, "c": b"\2" * 32, "f": None}
    greys = store.greys(["c", "a", "c"])
    assert (greys.shape, greys.dtype, greys[:, 5, 7].tolist()) == ((3, 64, 64), np.uint8, [2, 0, 2])
    assert store.match_scores() == {("a", "b"): SAME_PICTURE, ("b", "c"): MatchScore(9, 0.5)}
    store.put_match_scores([(("a", "b"), MatchScore(4, 0.98))])
    assert store.match_scores()["a", "b"] == MatchScore(4, 0.98, "", "")


def test_many_greys_are_read_in_order(tmp_path: Path) -> None:
    """One statement takes 500 contents."""
    store = FingerprintStore(tmp_path, "method", "pixels")
    names = [f"{number:04d}" for number in range(1100)]
    store.put_fingerprints((name, fingerprint(number % 251)) for number, name in enumerate(names))
    assert store.greys(names[::-1])[:, 0, 0].tolist() == [number % 251 for number in range(1100)][::-1]


def test_finishing_a_search_forgets_contents_that_are_gone(tmp_path: Path) -> None:
    store = filled_store(tmp_path)
    assert store.compared_contents() == set()
    store.finish_search(["a", "b"], ["a", "b"])
    assert store.compared_contents() == {"a", "b"}
    assert set(store.hashes()) == {"a", "b"}
    assert set(store.match_scores()) == {("a", "b")}
    store.finish_search(["a"], ["a"])
    assert (store.compared_contents(), store.match_scores()) == ({"a"}, {})


def test_enlargements_are_read_back_until_a_content_is_gone(tmp_path: Path) -> None:
    store = filled_store(tmp_path)
    store.put_enlargements({("c", "a"): True, ("a", "b"): False})
    store.put_enlargements({("c", "b"): True})
    assert store.enlargements() == {("c", "a"): True, ("a", "b"): False, ("c", "b"): True}
    store.finish_search([], "bc")
    assert FingerprintStore(tmp_path, "method", "pixels").enlargements() == {("c", "b"): True}


def test_enlargements_of_another_method_are_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = filled_store(tmp_path)
    store.put_enlargements({("c", "a"): True, ("a", "b"): False})
    monkeypatch.setattr(fingerprint_store, "ENLARGEMENT_METHOD", "other")
    assert store.enlargements() == {}
    store.put_enlargements({("c", "a"): False})
    assert store.enlargements() == {("c", "a"): False}
    assert set(store.match_scores()) == {("a", "b"), ("b", "c")}


def test_colours_are_read_back_until_a_content_is_gone_or_their_method_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled_store(tmp_path)
    assert store.colours() == {}
    store.put_fingerprints((name, replace(fingerprint(1), colour=level)) for name, level in (("a", 0), ("b", 77)))
    assert FingerprintStore(tmp_path, "method", "pixels").colours() == {"a": 0, "b": 77}
    store.finish_search([], "bc")
    assert store.colours() == {"b": 77}
    assert FingerprintStore(tmp_path, "method", "other pixels").colours() == {"b": 77}
    with monkeypatch.context() as patched:
        patched.setattr(fingerprint_store, "COLOUR_METHOD", "other")
        assert store.colours() == {}
    assert set(store.hashes()) == set("bc")
    assert FingerprintStore(tmp_path, "other method", "pixels").colours() == {}


def test_a_damaged_enlargement_is_forgotten_alone(tmp_path: Path) -> None:
    store = filled_store(tmp_path)
    store.put_enlargements({("c", "a"): True, ("b", "a"): True})
    with closing(sqlite3.connect(store.path)) as connection, connection:
        connection.execute("UPDATE enlargements SET is_enlargement = 0 WHERE larger = 'c'")
    store = FingerprintStore(tmp_path, "method", "pixels")
    assert store.enlargements() == {("b", "a"): True}
    assert set(store.match_scores()) == {("a", "b"), ("b", "c")}


def test_a_damaged_score_makes_all_pairs_be_compared_again(tmp_path: Path) -> None:
    store = filled_store(tmp_path)
    store.finish_search("abcf", "abcf")
    data = store.path.read_bytes()
    assert data.count(b"the same picture") == 1
    store.path.write_bytes(data.replace(b"the same picture", b"the sane picture"))
    store = FingerprintStore(tmp_path, "method", "pixels")
    assert (store.match_scores(), store.compared_contents()) == ({}, set())
    assert set(store.hashes()) == set("abcf")


def test_a_damaged_fingerprint_is_forgotten(tmp_path: Path) -> None:
    store = filled_store(tmp_path)
    data = bytearray(store.path.read_bytes())
    data[data.index(bytes([2]) * 32) + 7] ^= 16
    store.path.write_bytes(data)
    store = FingerprintStore(tmp_path, "method", "pixels")
    assert set(store.hashes()) == set("abf")
    assert set(store.match_scores()) == {("a", "b"), ("b", "c")}


def test_a_damaged_store_is_made_again(tmp_path: Path) -> None:
    store = filled_store(tmp_path)
    store.path.write_bytes(b"garbage" * 1000)
    store = FingerprintStore(tmp_path, "method", "pixels")
    assert store.hashes() == {}
    store.put_fingerprints([("a", fingerprint(1))])
    assert set(store.hashes()) == {"a"}


def test_another_method_empties_the_store(tmp_path: Path) -> None:
    filled_store(tmp_path).finish_search(["a"], "abcf")
    store = FingerprintStore(tmp_path, "other method", "pixels")
    assert (
        store.recomputed == "The fingerprints and comparisons of images are computed again: their method has changed."
    )
    assert (store.hashes(), store.match_scores(), store.compared_contents()) == ({}, {}, set())
    assert FingerprintStore(tmp_path, "method", "pixels").hashes() == {}


def test_another_confirmation_method_keeps_the_fingerprints(tmp_path: Path) -> None:
    filled_store(tmp_path).finish_search(["a"], "abcf")
    store = FingerprintStore(tmp_path, "method", "other pixels")
    assert store.recomputed == "The comparisons of images are computed again: their method has changed."
    assert (set(store.hashes()), store.match_scores(), store.compared_contents()) == (set("abcf"), {}, set())
    assert FingerprintStore(tmp_path, "method", "other pixels").recomputed == ""


def test_a_store_of_the_version_without_pixels_keeps_its_fingerprints(tmp_path: Path) -> None:
    file = tmp_path / "duplicates" / "copies.sqlite"
    file.parent.mkdir()
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("CREATE TABLE method (name TEXT NOT NULL)")
        connection.execute("INSERT INTO method VALUES ('method')")
        connection.execute("CREATE TABLE looks (sha256 TEXT PRIMARY KEY, status TEXT NOT NULL, hash BLOB, grey BLOB)")
        connection.execute("INSERT INTO looks VALUES ('a', 'ok', ?, ?)", (bytes(32), bytes(64 * 64)))
        connection.execute("CREATE TABLE fits (a TEXT, b TEXT, distance INTEGER, correlation REAL, PRIMARY KEY (a, b))")
        connection.execute("INSERT INTO fits VALUES ('a', 'b', 3, 0.99)")
        connection.execute("CREATE TABLE compared (sha256 TEXT PRIMARY KEY)")
        connection.execute("INSERT INTO compared VALUES ('a')")
    store = FingerprintStore(tmp_path, "method", "pixels")
    assert (store.hashes(), store.match_scores(), store.compared_contents()) == ({"a": bytes(32)}, {}, set())
    assert store.recomputed.startswith("The comparisons of images")
