"""Pieces cover every pair of chunks once; their keys follow from all that their answers depend on."""

from dataclasses import replace

import pytest

from imgret_assets.domain.similarity.pieces import work
from imgret_assets.domain.similarity.pieces.chunks import Chunk
from imgret_assets.domain.similarity.pieces.work import Piece, compared_chunks, piece_key, waves


def chunk(number: int, key: str = "", rows: int = 5) -> Chunk:
    return Chunk(number, 5 * number, 5 * number + rows, key or f"key {number}")


@pytest.mark.parametrize(("count", "chosen"), [(0, 0), (1, 1), (4, 4), (5, 2), (3, 0)])
def test_pieces_and_waves_cover_every_pair_of_chunks_once(count: int, chosen: int) -> None:
    chunks = [chunk(number) for number in range(count)]
    numbers = [(left.number, right.number) for left, right in compared_chunks(chunks, chosen)]
    assert numbers == [(left, right) for left in range(chosen) for right in range(left, count)]
    in_waves = waves(chunks, chosen)
    assert sorted((left.number, right.number) for wave in in_waves for left, right in wave) == numbers
    for wave in in_waves:
        assert wave
        lefts, rights = zip(*wave, strict=True)
        assert len(set(lefts)) == len(set(rights)) == len(wave)


def test_pieces_of_a_wave_share_a_chunk_with_the_next_one() -> None:
    wave = waves([chunk(number) for number in range(7)], 7)[2]
    assert [(left.number, right.number) for left, right in wave] == [(0, 2), (2, 4), (4, 6), (1, 3), (3, 5)]


def test_a_key_follows_from_all_that_an_answer_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    left, right = chunk(0), chunk(1)
    key = piece_key(left, right, "pairs", 0.8)
    others = [
        piece_key(chunk(0, "other"), right, "pairs", 0.8),
        piece_key(left, chunk(1, "other"), "pairs", 0.8),
        piece_key(right, left, "pairs", 0.8),
        piece_key(chunk(0, rows=4), right, "pairs", 0.8),
        piece_key(left, right, "pairs", 0.8000000000000002),
        piece_key(left, right, "nearest", 0.8),
        piece_key(left, right, "pairs"),
        # A chunk with itself, and with another of equal content.
        piece_key(left, left, "pairs", 0.8),
        piece_key(left, replace(left, number=1), "pairs", 0.8),
    ]
    monkeypatch.setattr(work, "METHOD", "another")
    others.append(piece_key(left, right, "pairs", 0.8))
    assert len({key, *others}) == len(others) + 1


def test_a_key_does_not_depend_on_the_rest_of_the_search() -> None:
    elsewhere = piece_key(Chunk(7, 100, 105, "key 0"), Chunk(9, 200, 205, "key 1"), "pairs", 0.8)
    assert piece_key(chunk(0), chunk(1), "pairs", 0.8) == elsewhere
    assert len(elsewhere) == 32


def test_a_piece_counts_its_combinations() -> None:
    assert Piece(chunk(0), chunk(1, rows=3), "key").size == 15
    assert not Piece(chunk(0), chunk(1), "key").is_diagonal
    assert Piece(chunk(0), chunk(0), "key").is_diagonal
