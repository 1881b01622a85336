"""Any set of finished pieces counts, whatever computes the others, in whatever order."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imgret_assets.domain.similarity.cascade import CascadeOptions, PairSearch
from imgret_assets.domain.similarity.pair_arrays import merge_pairs
from imgret_assets.domain.similarity.pieces import computing
from imgret_assets.domain.similarity.pieces.answers import Answer, AnswerFiles
from imgret_assets.domain.similarity.pieces.chunks import Chunk
from imgret_assets.domain.similarity.pieces.computing import ComputeHere, solve
from imgret_assets.domain.similarity.pieces.work import Piece
from imgret_tests.support.vector_sets import assert_same_pairs, clusters, expected_pairs

PIECES = [Piece(Chunk(0, 0, 9, "left"), Chunk(n, 9, 18, f"right {n}"), f"piece {n}") for n in range(5)]


def answer_of(piece: Piece) -> Answer:
    number = piece.right.number
    return Answer(np.array([number], np.int32), np.array([0], np.int32), np.array([number / 8]))


def test_answers_wait_until_writing_them_is_worth_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, compute = AnswerFiles(tmp_path), ComputeHere(answer_of)
    assert [piece for piece, _ in compute(PIECES[:3], files)] == PIECES[:3]
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(computing, "WRITE_EVERY_S", 0.0)
    assert len([*compute(PIECES[3:4], files)]) == 1
    assert sorted(path.stem for path in tmp_path.iterdir()) == [piece.key for piece in PIECES[:4]]


def test_finished_pieces_are_not_computed(tmp_path: Path) -> None:
    files = AnswerFiles(tmp_path)
    for number in (3, 1):
        files.write(PIECES[number], answer_of(PIECES[number]))
    (tmp_path / "piece 1.npz").write_bytes(b"half a f")
    computed: list[Piece] = []

    def backwards(pieces: Sequence[Piece], given_files: AnswerFiles) -> Iterator[tuple[Piece, Answer]]:
        assert given_files is files
        for piece in reversed(pieces):
            computed.append(piece)
            yield piece, answer_of(piece)

    solved = [*solve(PIECES, files, backwards)]
    assert [(each.piece.right.number, each.was_finished) for each in solved] == [
        (3, True), (4, False), (2, False), (1, False), (0, False),
    ]  # fmt: skip
    assert [piece.right.number for piece in computed] == [4, 2, 1, 0]
    assert all(each.answer.scores.tolist() == [each.piece.right.number / 8] for each in solved)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_finished_pieces_in_any_order_give_the_pairs_of_comparing_everything(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Files of this search and of another threshold, some lost, some damaged; the others computed in any order."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    vectors = clusters(rng, data.draw(st.integers(0, 160)), 24).astype(np.float32)
    shards = rng.integers(0, 4, len(vectors))
    rows = data.draw(st.none() | st.just(np.arange(0, len(vectors), 9)))
    random = data.draw(st.randoms(use_true_random=False))
    files = AnswerFiles(tmp_path_factory.mktemp("answers"))
    options = CascadeOptions(memory_bytes=2 * 72 * 48**2)

    def shuffled(search: PairSearch, share: float) -> Iterator[tuple[Piece, Answer]]:
        for piece in random.sample(search.pieces, round(share * len(search.pieces))):
            yield piece, search.answer(piece)

    for threshold in (0.7, 0.6):
        killed = PairSearch(vectors, threshold, rows=rows, shards=shards, options=options)
        for piece, answer in shuffled(killed, random.random()):
            files.write(piece, answer)
            if random.random() < 0.2 and (path := files.path(piece)) is not None:
                path.write_bytes(path.read_bytes()[: random.randint(0, 300)])
    second = PairSearch(vectors, 0.6, rows=rows, shards=shards, options=options)

    def in_any_order(pieces: Sequence[Piece], _: AnswerFiles) -> Iterator[tuple[Piece, Answer]]:
        for piece in random.sample(pieces, len(pieces)):
            yield piece, second.answer(piece)

    solved = [*solve(second.pieces, files, in_any_order)]
    assert len(solved) == len(second.pieces)
    pairs = merge_pairs(second.pairs(each.piece, each.answer) for each in solved)
    assert_same_pairs(pairs, expected_pairs(vectors, 0.6, rows))
