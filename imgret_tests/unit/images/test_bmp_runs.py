"""Tests of run lengths in BMP files; whole files are among the forms of `test_decode.py`."""

import numpy as np
import pytest

from imgret_assets.domain.images.bmp_runs import MissingRunsError, decode_runs

END = b"\0\1"


def test_runs_of_four_bits_alternate_two_indices_and_a_literal_run_may_be_odd() -> None:
    data = bytes([3, 0x12, 0, 5, 0x34, 0x56, 0x70, 0, 0, 0]) + bytes([8, 0x99]) + END
    assert decode_runs(data, (8, 2), 4).tolist() == [[9] * 8, [1, 2, 1, 3, 4, 5, 6, 7]]


def test_a_jump_and_an_early_end_leave_index_0() -> None:
    data = bytes([2, 7, 0, 2, 1, 1, 1, 5, 0, 0]) + END
    assert decode_runs(data, (4, 3), 8).tolist() == [[0, 0, 0, 0], [0, 0, 0, 5], [7, 7, 0, 0]]


def test_a_run_beyond_the_row_is_cut_and_an_end_mark_may_be_missing() -> None:
    assert decode_runs(bytes([9, 3]), (4, 1), 8).tolist() == [[3, 3, 3, 3]]
    assert decode_runs(bytes([0, 2, 9, 9]) + END, (4, 1), 8).tolist() == [[0, 0, 0, 0]]


@pytest.mark.parametrize("data", [b"", bytes([2, 1]), bytes([0, 6, 1, 2]), bytes([0, 2, 1]), bytes([0])])
def test_missing_runs_are_an_error(data: bytes) -> None:
    with pytest.raises(MissingRunsError, match="ends before its last run"):
        decode_runs(data, (4, 2), 8)


def test_random_bytes_give_an_image_or_an_error(rng: np.random.Generator) -> None:
    for bits in (4, 8):
        for _ in range(200):
            try:
                assert decode_runs(rng.bytes(60), (7, 5), bits).shape == (5, 7)
            except MissingRunsError:
                continue
