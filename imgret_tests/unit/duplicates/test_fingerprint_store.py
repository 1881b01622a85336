"""The store of fingerprints: what is written is read back, and nothing outlives its content or method."""

from pathlib import Path

import numpy as np

from imgret_assets.domain.duplicates.fingerprint_store import FingerprintStore
from imgret_assets.domain.duplicates.fingerprints import FLAT, Fingerprint


def fingerprint(number: int) -> Fingerprint:
    return Fingerprint("ok", bytes([number]) * 32, np.full((64, 64), number, np.uint8))


def filled_store(work: Path) -> FingerprintStore:
    store = FingerprintStore(work, "method")
    store.put_fingerprints(
        [*((name, fingerprint(number)) for number, name in enumerate("abc")), ("f", Fingerprint(FLAT))]
    )
    store.put_match_scores([(("a", "b"), (3, 0.97)), (("b", "c"), (9, 0.5))])
    return store


def test_fingerprints_and_match_scores_are_read_back(tmp_path: Path) -> None:
    filled_store(tmp_path)
    store = FingerprintStore(tmp_path, "method")
    assert store.hashes() == {"a": bytes(32), "b": b"\1" * 32, "c": b"\2" * 32, "f": None}
    greys = store.greys(["c", "a", "c"])
    assert (greys.shape, greys.dtype, greys[:, 5, 7].tolist()) == ((3, 64, 64), np.uint8, [2, 0, 2])
    assert store.match_scores() == {("a", "b"): (3, 0.97), ("b", "c"): (9, 0.5)}
    store.put_match_scores([(("a", "b"), (4, 0.98))])
    assert store.match_scores()["a", "b"] == (4, 0.98)


def test_many_greys_are_read_in_order(tmp_path: Path) -> None:
    """One statement takes 500 contents."""
    store = FingerprintStore(tmp_path, "method")
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


def test_another_method_empties_the_store(tmp_path: Path) -> None:
    filled_store(tmp_path).finish_search(["a"], "abcf")
    store = FingerprintStore(tmp_path, "other method")
    assert (store.hashes(), store.match_scores(), store.compared_contents()) == ({}, {}, set())
    assert FingerprintStore(tmp_path, "method").hashes() == {}
