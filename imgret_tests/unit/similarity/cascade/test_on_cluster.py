"""The pieces of a search on a cluster: in whatever order, whatever is lost, what this process would have found."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from imgret_assets.domain.cluster import patience, workers
from imgret_assets.domain.similarity.cascade import CascadeOptions, NearestSearch, PairSearch, remote_pieces
from imgret_assets.domain.similarity.cascade.plans import Plan
from imgret_assets.domain.similarity.pair_arrays import ScoredPairs, merge_pairs
from imgret_assets.domain.similarity.pieces.answers import AnswerFiles
from imgret_assets.domain.similarity.pieces.computing import Compute, solve
from imgret_assets.errors import ClusterError, LostWorkError, TooManyPairsError
from imgret_tests.support.fake_cluster import FakeCluster, Reference
from imgret_tests.support.vector_sets import (
    assert_same_lists,
    assert_same_pairs,
    clusters,
    expected_neighbours,
    expected_pairs,
)
from imgret_tests.unit.similarity.cascade.searches import PLAIN

PROJECTED = Plan((15, 48), plain=False)


@pytest.fixture(autouse=True)
def _look_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "LOOK_EVERY_S", 0.0)


@pytest.fixture
def vectors(rng: np.random.Generator) -> np.ndarray:
    return clusters(rng, 150, 70).astype(np.float32)


def pairs_of(search: PairSearch, compute: Compute, files: AnswerFiles) -> ScoredPairs:
    return merge_pairs(search.pairs(each.piece, each.answer) for each in solve(search.pieces, files, compute))


@pytest.mark.parametrize("plan", [PLAIN, PROJECTED])
@pytest.mark.parametrize("engine", ["int16", "float32"])
def test_pairs_equal_those_of_comparing_everything(
    vectors: np.ndarray, plan: Plan, engine: str, tmp_path: Path
) -> None:
    options = CascadeOptions(plan=plan, engine=engine, chunk_rows=40)
    rows = np.array([3, 77, 149])
    for chosen in (None, rows):
        search = PairSearch(vectors, 0.7, rows=chosen, shards=np.arange(150) % 2, options=options)
        cluster = FakeCluster({"a": 1, "b": 3})
        found = pairs_of(search, search.compute_on(cluster, tmp_path), AnswerFiles(None))
        assert_same_pairs(found, expected_pairs(vectors, 0.7, chosen))
    sent = Counter(reference.name for reference in cluster.sent)
    assert sent["compare_chunks"] == len(search.pieces)
    assert sent["load_chunk"] == len({each for piece in search.pieces for each in (piece.left, piece.right)})


def test_neighbours_equal_those_of_comparing_everything(vectors: np.ndarray, tmp_path: Path) -> None:
    search = NearestSearch(vectors, 7, options=CascadeOptions(plan=PROJECTED, chunk_rows=40))
    compute = search.compute_on(FakeCluster({"a": 1, "b": 1}), tmp_path)
    for wave in search.waves():
        for each in solve(wave, AnswerFiles(None), compute):
            search.add(each.piece, each.answer)
    assert_same_lists(search.result(), expected_neighbours(vectors, 7))


@pytest.mark.parametrize("arriving", [1, 1 << 30])
def test_a_cap_leaves_out_the_same_pairs_as_in_this_process(
    vectors: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arriving: int
) -> None:
    monkeypatch.setattr(remote_pieces, "_CAPPED_PAIRS", arriving)
    sizes = np.arange(150) % 3 + 1
    search = PairSearch(
        vectors, 0.2, options=CascadeOptions(chunk_rows=40, on_cluster=True), max_neighbours=3, sizes=sizes
    )
    here = {piece.key: search.answer(piece) for piece in search.pieces}
    solved = solve(search.pieces, AnswerFiles(None), search.compute_on(FakeCluster({"a": 1}), tmp_path))
    there = {each.piece.key: each.answer for each in solved}
    assert sum(map(len, here.values())) < len(expected_pairs(vectors, 0.2))
    for key, answer in here.items():
        assert sorted(zip(*answer[:3], strict=True)) == sorted(zip(*there[key][:3], strict=True))
        assert answer.left_out == there[key].left_out


def test_lost_pieces_and_chunks_are_sent_again(vectors: np.ndarray, tmp_path: Path) -> None:
    search = PairSearch(vectors, 0.7, options=CascadeOptions(chunk_rows=40))
    cluster = FakeCluster({"a": 1, "b": 1})
    compared = iter(range(1000))
    cluster.loses = lambda reference: reference.name == "compare_chunks" and next(compared) % 2 == 0
    assert_same_pairs(
        pairs_of(search, search.compute_on(cluster, tmp_path), AnswerFiles(None)), expected_pairs(vectors, 0.7)
    )
    assert len([each for each in cluster.sent if each.name == "compare_chunks"]) > len(search.pieces)


def test_a_piece_that_is_always_lost_ends_the_search(vectors: np.ndarray, tmp_path: Path) -> None:
    search = PairSearch(vectors, 0.7, options=CascadeOptions(chunk_rows=40))
    cluster = FakeCluster({"a": 2})
    cluster.loses = lambda reference: reference.name == "compare_chunks"
    with pytest.raises(LostWorkError, match="The node died"):
        pairs_of(search, search.compute_on(cluster, tmp_path), AnswerFiles(None))
    assert cluster.cancelled


def test_answers_are_in_files_as_they_arrive_and_the_next_search_goes_on_from_them(
    vectors: np.ndarray, tmp_path: Path
) -> None:
    options = CascadeOptions(chunk_rows=40)
    search = PairSearch(vectors, 0.7, options=options)
    cluster, files = FakeCluster({"a": 1}), AnswerFiles(tmp_path)
    killed: Iterator[object] = solve(search.pieces, files, search.compute_on(cluster, tmp_path))
    for _ in range(3):
        next(killed)
    del killed
    # Its window is two pieces a CPU: one is on its way, and the next is not sent before the caller asks.
    assert len(cluster.cancelled) == 1
    again, cluster = PairSearch(vectors, 0.7, options=options), FakeCluster({"b": 1})
    assert_same_pairs(pairs_of(again, again.compute_on(cluster, tmp_path), files), expected_pairs(vectors, 0.7))
    assert len([each for each in cluster.sent if each.name == "compare_chunks"]) == len(again.pieces) - 3


def test_no_node_has_more_than_two_pieces_a_cpu(vectors: np.ndarray, tmp_path: Path) -> None:
    search = PairSearch(vectors, 0.7, options=CascadeOptions(chunk_rows=16))
    cluster = FakeCluster({"a": 1, "b": 2})
    most: Counter[str] = Counter()
    inner = cluster.first_done

    def counted(references: list[Reference], timeout_s: float) -> object:
        at = Counter(each.node for each in references if each.name == "compare_chunks")
        for node, count in at.items():
            most[node] = max(most[node], count)
        return inner(references, timeout_s)

    cluster.first_done = counted  # type: ignore[method-assign, assignment]
    pairs_of(search, search.compute_on(cluster, tmp_path), AnswerFiles(None))
    assert most == {"a": 2, "b": 4}


def test_one_piece_with_more_pairs_than_the_search_may_have(vectors: np.ndarray, tmp_path: Path) -> None:
    search = PairSearch(vectors, -1.0, options=CascadeOptions(chunk_rows=75))
    compute = search.compute_on(FakeCluster({"a": 1}), tmp_path, max_pairs=1000)
    with pytest.raises(TooManyPairsError, match="more than 1,000 pairs"):
        pairs_of(search, compute, AnswerFiles(None))


def test_a_piece_takes_memory_by_the_size_of_its_chunks(vectors: np.ndarray, tmp_path: Path) -> None:
    taken = []
    for rows in (16, 64):
        search, cluster = PairSearch(vectors, 0.7, options=CascadeOptions(chunk_rows=rows)), FakeCluster({"a": 1})
        pairs_of(search, search.compute_on(cluster, tmp_path), AnswerFiles(None))
        (takes,) = {each.takes for each in cluster.sent if each.name in ("compare_chunks", "load_chunk")}
        assert takes is not None
        assert takes.cpus == 1
        taken.append((max(len(piece.left) for piece in search.pieces), takes.memory_bytes))
    (few, small), (many, large) = taken
    # Vectors and what is prepared of them, twice.
    vector_bytes = 70 * 4
    assert 2 * (many - few) * vector_bytes < large - small < 4 * (many - few) * vector_bytes
    assert 300 << 20 < small < 1 << 30


def test_nodes_too_small_for_a_piece_end_the_search_at_once(vectors: np.ndarray, tmp_path: Path) -> None:
    search = PairSearch(vectors, 0.7, options=CascadeOptions(chunk_rows=40))
    cluster = FakeCluster({"a": 1})
    cluster.memory_bytes = 100 << 20
    with pytest.raises(ClusterError, match=r"host \(a\): it has 0\.1 GB of memory for tasks, and each needs 0\.5 GB"):
        pairs_of(search, search.compute_on(cluster, tmp_path), AnswerFiles(None))


def test_a_search_that_gets_nothing_back_is_given_up(
    vectors: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = PairSearch(vectors, 0.7, options=CascadeOptions(chunk_rows=40))
    cluster = FakeCluster({"a": 1})
    inner = cluster.first_done
    monkeypatch.setattr(patience, "GIVE_UP_AFTER_S", 0.05)

    def busy(references: Collection[Reference], timeout_s: float) -> Sequence[Reference]:
        asked = [each for each in references if each.name == "probe"]
        return inner(asked, timeout_s) if asked else ()

    cluster.first_done = busy  # type: ignore[method-assign]
    with pytest.raises(ClusterError, match="Nothing has come back from the cluster fake"):
        pairs_of(search, search.compute_on(cluster, tmp_path), AnswerFiles(None))
    assert cluster.cancelled
