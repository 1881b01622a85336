"""Plans and the cost model that chooses them."""

import numpy as np
import pytest

from imgret_assets.domain.similarity.cascade.plans import (
    Plan,
    Workload,
    choose_plan,
    is_affordable,
    sample_order,
    shares_passing,
)
from imgret_assets.errors import SettingError
from imgret_tests.support.vector_sets import all_scores, spread

SHARES = {31: 0.3, 63: 0.05, 64: 0.05, 127: 0.01, 128: 0.01, 255: 0.001, 256: 0.001, 1280: 0.0001}


@pytest.mark.parametrize(
    ("widths", "message"),
    [((16,), "multiple of 4"), ((31, 40), "multiples of 16"), ((63, 32), "rising"), ((31, 64), "at most 63")],
)
def test_widths_that_the_kernels_cannot_take_are_errors(widths: tuple[int, ...], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        Plan(widths, plain=False).check(63)


def test_a_plan_is_described_in_a_line() -> None:
    assert str(Plan((130,), plain=True)) == "product of all 130 numbers"
    plan = Plan((127, 256), plain=False, shares=(0.01, 0.001))
    assert str(plan) == "bounds of 127 (1.00% expected to pass), 256 (0.10% expected to pass)"


def test_bounds_that_prune_are_taken_and_others_are_not() -> None:
    work = Workload(pairs=800_000_000, rows=40_000, dim=1280, engine="int16")
    plan = choose_plan(work, SHARES)
    assert not plan.plain
    assert plan.shares == tuple(SHARES[width] for width in plan.widths)
    assert choose_plan(work, dict.fromkeys(SHARES, 0.9) | {1280: 0.0001}).plain


def test_a_faster_engine_takes_more_coordinates_first() -> None:
    """A GPU multiplies almost for free, so it leaves less to the CPU."""
    first_widths = [
        choose_plan(Workload(800_000_000, 40_000, 1280, engine), SHARES).widths[0] for engine in ("float32", "cuda")
    ]
    assert first_widths[0] < first_widths[1]


def test_a_basis_is_affordable_only_for_many_pairs() -> None:
    assert is_affordable(Workload(800_000_000, 40_000, 1280, "int16"), 256)
    assert not is_affordable(Workload(50_000, 300, 1280, "int16"), 256)
    assert not is_affordable(Workload(800_000_000, 40_000, 1280, "int16"), 48)


def test_shares_are_those_of_the_bounds_without_the_row_itself(rng: np.random.Generator) -> None:
    unit = spread(rng, 60, 80)
    unit = (unit / np.linalg.norm(unit, axis=1, keepdims=True)).astype(np.float32)
    basis = np.linalg.qr(rng.standard_normal((80, 64)))[0].astype(np.float32)
    shares = shares_passing(unit, 20, basis, 0.1)
    assert sorted(shares) == [31, 47, 63, 64, 80]
    truth = all_scores(unit)[:20] > 0.1
    truth[np.arange(20), np.arange(20)] = False
    assert shares[80] == pytest.approx(truth.mean())
    projected = unit @ basis[:, :31]
    residual = np.sqrt(1 - (projected**2).sum(axis=1))
    passing = projected[:20] @ projected.T + np.outer(residual[:20], residual) >= 0.1
    passing[np.arange(20), np.arange(20)] = False
    assert shares[31] == pytest.approx(passing.mean(), abs=2e-3)
    assert shares[31] >= shares[47] >= shares[63] >= shares[80]


@pytest.mark.parametrize("sampled", [1, 5, 384, 3072])
def test_a_sample_begins_with_an_evenly_spread_part(sampled: int) -> None:
    order, left_count = sample_order(sampled)
    assert sorted(order.tolist()) == list(range(sampled))
    assert 1 <= left_count <= min(sampled, 384)
    assert len(set(np.diff(order[:left_count]))) <= 1
