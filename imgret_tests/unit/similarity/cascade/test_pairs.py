import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imgret_assets.domain.similarity.cascade import bounds, kernels
from imgret_assets.domain.similarity.cascade import sieve as cascade
from imgret_assets.domain.similarity.cascade.bounds import SCALE, Plan
from imgret_assets.domain.similarity.cascade.nearest_search import Nearest, NearestSearch, nearest
from imgret_assets.domain.similarity.cascade.pairs import Cascade, merged
from imgret_assets.domain.similarity.cascade.sieve import Found, Options, Sieve
from imgret_assets.domain.similarity.neighbour_lists import Previous
from imgret_assets.errors import SettingError, TableError

PLAIN = Plan((0,), plain=True)
# Square blocks of 48 rows: every test of more rows goes over several, the last one shorter.
SMALL = 2 * 72 * 48**2
ENGINES = ["int16", "float32", "cuda"]
PROPERTY = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


# An exact reference


def cosines_of(vectors: np.ndarray) -> np.ndarray:
    """Float64 cosines of all pairs, with the very order of sums that the kernels document: sixteen lanes, by pairs."""
    exact = vectors.astype(np.float64)
    count, dim = exact.shape
    whole = dim // 16 * 16
    dots = np.empty((count, count))
    for i in range(count):
        products = exact * exact[i]
        lanes = np.zeros((count, 16))
        for start in range(0, whole, 16):
            lanes += products[:, start : start + 16]
        four = (lanes[:, 0:4] + lanes[:, 4:8]) + (lanes[:, 8:12] + lanes[:, 12:16])
        total = (four[:, 0] + four[:, 1]) + (four[:, 2] + four[:, 3])
        for k in range(whole, dim):
            total = total + products[:, k]
        dots[i] = total
    norms = np.sqrt(np.diag(dots))
    return np.clip(dots / (norms[:, None] * norms), -1.0, 1.0)


def pairs_by_brute_force(vectors: np.ndarray, threshold: float, rows: np.ndarray | None = None) -> Found:
    return pairs_among(cosines_of(vectors), threshold, rows)


def pairs_among(cosines: np.ndarray, threshold: float, rows: np.ndarray | None = None) -> Found:
    wanted = np.triu(cosines > threshold, 1)
    if rows is not None:
        due = np.isin(np.arange(len(cosines)), rows)
        wanted &= due[:, None] | due
    a, b = np.nonzero(wanted)
    return Found(a, b, cosines[a, b])


def nearest_by_sorting(vectors: np.ndarray, k: int) -> Nearest:
    cosines = cosines_of(vectors)
    width = max(0, min(k, len(vectors) - 1))
    rows = np.array(
        [
            sorted(set(range(len(vectors))) - {i}, key=lambda j: (-cosines[i, j], j))[:width]
            for i in range(len(vectors))
        ],
        dtype=np.int64,
    ).reshape(len(vectors), width)
    return Nearest(rows, np.take_along_axis(cosines, rows, axis=1))


def assert_same(found: tuple[np.ndarray, ...], expected: tuple[np.ndarray, ...]) -> None:
    """To the last bit: sums have one order, so not even ties at a threshold may fall another way."""
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def found_by(vectors: np.ndarray, threshold: float, **options: Any) -> Found:
    rows = options.pop("rows", None)
    search = Cascade(vectors, threshold, rows=rows, options=Options(**options))
    return merged(search.pairs_of(block) for block in search.blocks)


# Vectors that have broken such searches, or could


def spread(rng: np.random.Generator, count: int, dim: int) -> np.ndarray:
    return rng.standard_normal((count, dim))


def clusters(rng: np.random.Generator, count: int, dim: int) -> np.ndarray:
    centres = rng.standard_normal((3, dim)) * np.exp(-np.arange(dim) / 8)
    return centres[rng.integers(0, 3, count)] + 0.3 * rng.standard_normal((count, dim)) * np.exp(-np.arange(dim) / 8)


def tiny_rest(rng: np.random.Generator, count: int, dim: int) -> np.ndarray:
    """Nearly within two dimensions: what a head leaves is all rounding."""
    plane = np.linalg.qr(rng.standard_normal((dim, min(2, dim))))[0]
    return rng.standard_normal((count, plane.shape[1])) @ plane.T + 1e-5 * rng.standard_normal((count, dim))


def duplicates(rng: np.random.Generator, count: int, dim: int) -> np.ndarray:
    return rng.standard_normal((max(1, count // 4), dim))[rng.integers(0, max(1, count // 4), count)]


def dominant_direction(rng: np.random.Generator, count: int, dim: int) -> np.ndarray:
    return 20 * rng.standard_normal(dim) + rng.standard_normal((count, dim))


def all_alike(rng: np.random.Generator, count: int, dim: int) -> np.ndarray:
    return np.ones(dim) + 1e-4 * rng.standard_normal((count, dim))


def all_norms(rng: np.random.Generator, count: int, dim: int) -> np.ndarray:
    """Down to subnormal numbers, up to where float32 squares overflow."""
    return clusters(rng, count, dim) * 10.0 ** rng.uniform(-41, 36, (count, 1))


def opposites(rng: np.random.Generator, count: int, dim: int) -> np.ndarray:
    return clusters(rng, count, dim) * rng.choice([-1.0, 1.0], (count, 1))


SHAPES: list[Callable[[np.random.Generator, int, int], np.ndarray]] = [
    spread, clusters, tiny_rest, duplicates, dominant_direction, all_alike, all_norms, opposites,
]  # fmt: skip


@st.composite
def collections(draw: st.DrawFn) -> np.ndarray:
    """float32 (n, dim) of one of the shapes; no zero rows."""
    count, dim = draw(st.integers(0, 120)), draw(st.sampled_from([1, 2, 3, 15, 16, 17, 33, 48, 70]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    vectors = draw(st.sampled_from(SHAPES))(rng, count, dim).astype(np.float32)
    vectors[~vectors.any(axis=1), 0] = 1.0
    return vectors


def plans_for(dim: int) -> list[Plan]:
    widths = [(3,), (7, 16), (3, 16, 32), (15, 48)]
    return [PLAIN, *(Plan(each, plain=False, shares=(1.0,) * len(each)) for each in widths if each[-1] <= dim)]


@st.composite
def thresholds(draw: st.DrawFn, vectors: np.ndarray) -> float:
    """Any, or within a hair of the cosine of some pair."""
    if len(vectors) < 2 or draw(st.booleans()):
        return draw(st.sampled_from([-1.0, -0.2, 0.0, 0.5, 0.9, 0.999, 1.0]))
    i, j = draw(st.lists(st.integers(0, len(vectors) - 1), min_size=2, max_size=2, unique=True))
    cosine = float(cosines_of(vectors[[i, j]])[0, 1])
    return cosine + draw(st.sampled_from([0.0, 1e-15, -1e-15, 1e-9, -1e-9, 1e-6, -1e-6, 1e-4, -1e-4]))


# Pairs above a threshold


@PROPERTY
@given(st.data())
def test_pairs_are_those_of_brute_force(data: st.DataObject) -> None:
    vectors = data.draw(collections())
    threshold = data.draw(thresholds(vectors))
    found = found_by(
        vectors, threshold,
        plan=data.draw(st.sampled_from(plans_for(vectors.shape[1]))),
        engine=data.draw(st.sampled_from(ENGINES)),
        threads=data.draw(st.sampled_from([1, 2])), memory_bytes=data.draw(st.sampled_from([SMALL, 1 << 30])),
    )  # fmt: skip
    assert_same(found, pairs_by_brute_force(vectors, threshold))


@PROPERTY
@given(st.data())
def test_pairs_of_some_rows_with_all_are_those_of_brute_force(data: st.DataObject) -> None:
    vectors = data.draw(collections())
    threshold = data.draw(thresholds(vectors))
    rows = np.array(data.draw(st.lists(st.integers(0, max(0, len(vectors) - 1)), max_size=30)), dtype=np.int64)
    rows = rows[rows < len(vectors)]
    found = found_by(
        vectors, threshold, rows=rows, memory_bytes=SMALL,
        plan=data.draw(st.sampled_from(plans_for(vectors.shape[1]))),
        engine=data.draw(st.sampled_from(["int16", "float32"])),
    )  # fmt: skip
    assert_same(found, pairs_by_brute_force(vectors, threshold, rows))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("make", SHAPES)
def test_no_pair_planted_at_the_threshold_is_lost(
    rng: np.random.Generator, make: Callable[..., np.ndarray], engine: str
) -> None:
    """Every pair is one at the threshold once: half of them just below, half just above."""
    vectors = make(rng, 70, 64).astype(np.float32)
    cosines = cosines_of(vectors)
    for threshold in np.quantile(cosines[np.triu_indices(70, 1)], [0.5, 0.95], method="nearest"):
        for plan in plans_for(64):
            for shift in (0.0, -1e-12):
                found = found_by(vectors, threshold + shift, plan=plan, engine=engine)
                assert_same(found, pairs_among(cosines, threshold + shift))


def test_planted_neighbours_of_a_head_with_nothing_left_are_all_found() -> None:
    """4,000 pairs at 0.8 within 2e-5, their rests tiny: an earlier sketch lost more than half of them."""
    rng = np.random.default_rng(7)
    plane = np.linalg.qr(rng.standard_normal((320, 4)))[0]
    left = rng.standard_normal((400, 4))
    left /= np.linalg.norm(left, axis=1, keepdims=True)
    other = rng.standard_normal((400, 10, 4))
    other -= np.einsum("ijk,ik->ij", other, left)[..., None] * left[:, None]
    other /= np.linalg.norm(other, axis=2, keepdims=True)
    cosine = 0.8 + rng.uniform(-2e-5, 2e-5, (400, 10, 1))
    right = (cosine * left[:, None] + np.sqrt(1 - cosine**2) * other).reshape(-1, 4)
    vectors = (np.concatenate([left, right]) @ plane.T).astype(np.float32)
    vectors += (1e-6 * rng.standard_normal(vectors.shape)).astype(np.float32)
    rows = np.arange(400)
    expected = found_by(vectors, 0.8, rows=rows, plan=PLAIN, engine="float32")
    exact = vectors.astype(np.float64)
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    truth = exact[:400] @ exact.T
    clear = np.triu(truth > 0.8 + 1e-12, 1)
    assert len(expected.a) >= np.count_nonzero(clear) > 2000
    assert np.count_nonzero(np.triu(truth > 0.8 - 1e-12, 1)) >= len(expected.a)
    for widths in ((31,), (31, 64), (127, 256)):
        assert_same(found_by(vectors, 0.8, rows=rows, plan=Plan(widths, plain=False)), expected)


def test_bounds_keep_what_their_proof_says(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads, rests and margins of every row against float64; data rarely comes near a worst case, so it can't tell."""
    vectors = np.concatenate([make(rng, 100, 320) for make in (clusters, tiny_rest, spread)]).astype(np.float32)
    plan = Plan((31, 64, 128), plain=False)
    bases = []
    compute = bounds.leading_directions
    monkeypatch.setattr(bounds, "leading_directions", lambda *of: bases.append(compute(*of)) or bases[0])
    sieve = Sieve(vectors, None, lambda unit, left: 0.8, 256, Options(plan=plan))
    unit = vectors.astype(np.float64) / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    basis = bases[0].astype(np.float64)
    errors = bounds.head_errors(bases[0], np.array(plan.widths))
    levels, widths, heads, rests, scale_squared, margins = sieve._tests()
    assert (levels, scale_squared) == (3, SCALE**2)
    assert np.all(margins >= 2 * errors + errors**2 + 320 * 2.0**-52)
    for level, width in enumerate(widths):
        # The nearest orthonormal columns: the polar factor.
        u, _, vt = np.linalg.svd(basis[:, :width], full_matrices=False)
        true = unit @ (u @ vt)
        integers = heads[:, :width].astype(np.int64)
        assert np.linalg.norm(integers / SCALE - true, axis=1).max() < errors[level]
        assert np.abs(integers / SCALE - true).max() < 0.55 / SCALE
        left = np.sqrt(np.maximum(0, 1 - (true**2).sum(axis=1)))
        assert np.all(rests[:, level] / SCALE >= left)
        square = (integers**2).sum(axis=1)
        allowed = np.maximum(0, 1 - square / SCALE**2 + 2 * errors[level] * np.sqrt(square) / SCALE)
        assert np.all(rests[:, level].astype(np.float64) ** 2 >= allowed * SCALE**2)


@pytest.mark.parametrize(("short_by", "found"), [(0.9, 1), (1.1, 0)])
def test_a_later_bound_discards_only_beyond_its_margin(short_by: float, found: int) -> None:
    """A pair that is above the floor, its bound as far below it as the errors allow, and a little farther."""
    floor, margins = 0.5, np.array([0.0, 0.01])
    vectors = np.ones((2, 16), np.float32)
    vectors.flags.writeable = False
    heads = np.zeros((2, 16), np.int16)
    heads[0, 0] = SCALE
    heads[1, 0] = round(SCALE * (floor - short_by * margins[1]))
    tests = (2, np.array([15, 16]), heads, np.zeros((2, 2), np.int16), float(SCALE) ** 2, margins)
    exact = (vectors, np.arange(2), np.full(2, 4.0))
    p, q, scores = kernels.sieve_candidates(np.array([1]), tests, exact, np.full(2, floor))
    assert list(zip(p, q, scores, strict=True)) == [(0, 1, 1.0)] * found


def test_whatever_reaches_a_cutoff_passes_it(rng: np.random.Generator) -> None:
    """Just so: rounding to integers or to the bits of floats takes off no more than their last place."""
    cutoffs = np.concatenate([rng.uniform(1, 1e9, 500), rng.uniform(1, 1e4, 500), np.arange(1, 50)])
    integers = cascade._as_integers(cutoffs, 1100)
    assert np.all(integers[: len(cutoffs)] < np.ceil(cutoffs))
    assert np.all(integers[: len(cutoffs)] > cutoffs - 3)
    assert np.all(integers[len(cutoffs) :] == 2**31 - 1)
    assert cascade._as_integers(np.array([-np.inf, -3.5]), 2).tolist() == [-(2**31), -5]

    least = cutoffs.astype(np.float32)
    least = np.where(least < cutoffs, np.nextafter(least, np.float32(np.inf)), least)
    bits = cascade._as_bits(cutoffs)
    assert np.all(bits < least.view(np.int32))
    assert np.all(bits > least.view(np.int32) - 4)
    assert cascade._as_bits(np.array([-np.inf, -1.0, 0.0])).tolist() == [-(2**31)] * 3


def test_first_cutoff_is_a_threshold_less_its_margin(rng: np.random.Generator) -> None:
    for engine in ENGINES:
        for plan in plans_for(70):
            sieve = Sieve(
                clusters(rng, 60, 70).astype(np.float32), None, lambda *of: 0.5, 64, Options(engine=engine, plan=plan)
            )
            margin = sieve._tests()[5][0] + bounds.library_error(engine, sieve._columns, 0.0)
            assert np.all(sieve._cutoffs(np.array([0.5, -1.0])) <= SCALE**2 * (np.array([0.5, -1.0]) - margin))


@pytest.mark.parametrize("dim", [320, 1280, 2048])
def test_errors_of_heads_are_the_documented_ones(dim: int) -> None:
    basis = np.eye(dim, 256, dtype=np.float32)
    sums = min(256, dim) + -(-dim // 256)
    for width, error in zip((127, 256), bounds.head_errors(basis, np.array([127, 256])), strict=True):
        gamma = sums * 2.0**-24 / (1 - sums * 2.0**-24)
        assert error >= np.sqrt(width) * gamma + np.sqrt(width) / (2 * SCALE) + 2.0**-24
        assert error < 6e-4
    assert bounds.identity_errors(dim)[0] >= np.sqrt(dim) / (2 * SCALE)


def test_skewed_basis_widens_the_errors() -> None:
    basis = np.eye(64, 32, dtype=np.float32)
    basis[0, 1] = 1e-3
    gram = basis.T.astype(np.float64) @ basis
    assert bounds.head_errors(basis, np.array([32]))[0] >= np.linalg.norm(gram - np.eye(32), 2)


def test_bfloat16_products_of_a_gpu_stay_within_their_margin(rng: np.random.Generator) -> None:
    import torch

    worst = 0.0
    for columns in (32, 128, 512):
        rows = rng.standard_normal((200, columns)) * np.exp(-rng.uniform(0, 3) * np.arange(columns) / columns)
        rows = np.rint(SCALE * rows / np.linalg.norm(rows, axis=1, keepdims=True))
        half = torch.from_numpy(rows.astype(np.float32)).to(torch.bfloat16)
        off = np.abs((half @ half.T).float().numpy().astype(np.float64) - rows @ rows.T).max() / SCALE**2
        assert off <= bounds.library_error("cuda", columns, 1e-3)
        worst = max(worst, off)
    # Not a margin so wide that it proves nothing, and rounding was really to eight bits.
    assert bounds.library_error("cuda", 128, 1e-3) < 0.0062 < 5 * worst


def test_answers_are_the_same_whatever_does_the_work(rng: np.random.Generator) -> None:
    vectors = clusters(rng, 200, 70).astype(np.float32)
    expected = pairs_by_brute_force(vectors, 0.6)
    assert 100 < len(expected.a) < 15000
    for engine in ENGINES:
        for threads in (1, 3):
            for plan in plans_for(70):
                assert_same(found_by(vectors, 0.6, engine=engine, threads=threads, plan=plan), expected)


@pytest.mark.parametrize("engine", ["int16", "float32"])
def test_one_thread_means_one_thread_of_the_libraries_too(rng: np.random.Generator, engine: str) -> None:
    """What other threads of this process compute meanwhile is next to nothing."""
    vectors = clusters(rng, 4000, 512).astype(np.float32)
    options = Options(engine=engine, threads=1)
    found_by(vectors[:100], 0.9, engine=engine, threads=1)
    process, thread = time.process_time(), time.thread_time()
    found_by(vectors, 0.9, engine=engine, threads=1)
    nearest(vectors, 3, options=options)
    of_all, of_this = time.process_time() - process, time.thread_time() - thread
    assert of_this > 0.3
    assert of_all - of_this < 0.1 * of_this


@pytest.mark.parametrize("make", SHAPES)
def test_planner_s_choice_is_exact(
    rng: np.random.Generator, make: Callable[..., np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a price that makes it try a basis on a few hundred rows."""
    monkeypatch.setattr(bounds, "_FIRST_NS", {"int16": (10.0, 1.0)})
    vectors = make(rng, 300, 130).astype(np.float32)
    search = Cascade(vectors, 0.7, options=Options(engine="int16"))
    assert_same(merged(map(search.pairs_of, search.blocks)), pairs_by_brute_force(vectors, 0.7))
    if make in (clusters, tiny_rest):
        assert not search.plan.plain


def test_where_no_bound_prunes_all_coordinates_are_taken_at_once(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "_FIRST_NS", {"int16": (0.3, 1.0)})
    vectors = spread(rng, 400, 130).astype(np.float32)
    search = Cascade(vectors, 0.1, options=Options(engine="int16"))
    assert search.plan.plain
    assert_same(merged(map(search.pairs_of, search.blocks)), pairs_by_brute_force(vectors, 0.1))


def test_nothing_is_sampled_where_the_product_is_cheap(rng: np.random.Generator) -> None:
    search = Cascade(clusters(rng, 300, 130).astype(np.float32), 0.7)
    assert search.plan.plain
    assert str(search.plan) == "product of all 130 numbers"


def test_memory_decides_the_blocks_and_they_cover_every_pair_once(rng: np.random.Generator) -> None:
    vectors = spread(rng, 331, 5).astype(np.float32)
    for rows in (None, np.arange(100, 133)):
        search = Cascade(vectors, -1.0, rows=rows, options=Options(memory_bytes=SMALL))
        assert search.block_rows == 48
        found = [search.pairs_of(block) for block in search.blocks]
        assert all(len(part.a) <= 48**2 for part in found)
        whole = merged(found)
        assert len(np.unique(whole.a * 331 + whole.b)) == len(whole.a) == search.compared
        assert np.all(whole.a < whole.b)
        assert [block.number for block in search.blocks] == list(range(len(search.blocks)))
    assert Cascade(vectors, -1.0).block_rows > 331


def test_memory_maps_and_slices_are_read_as_they_are(rng: np.random.Generator, tmp_path: Any) -> None:
    vectors = clusters(rng, 90, 40).astype(np.float32)
    np.save(tmp_path / "vectors.npy", vectors)
    expected = pairs_by_brute_force(vectors, 0.5)
    assert_same(found_by(np.load(tmp_path / "vectors.npy", mmap_mode="r"), 0.5), expected)
    assert_same(found_by(np.repeat(vectors, 2, axis=0)[::2], 0.5), expected)


@pytest.mark.parametrize("count", [0, 1])
def test_no_pairs_among_no_rows_or_one(count: int) -> None:
    vectors = np.ones((count, 3), np.float32)
    assert len(found_by(vectors, -1.0).a) == 0
    assert nearest(vectors, 5).rows.shape == (count, 0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 0.0])
def test_rows_without_a_direction_are_refused_by_number(rng: np.random.Generator, value: float) -> None:
    vectors = spread(rng, 30, 8).astype(np.float32)
    vectors[[3, 17]] = value
    with pytest.raises(TableError, match=r"Rows 3, 17 of the vectors: zero or not finite"):
        Cascade(vectors, 0.5)
    with pytest.raises(TableError, match=r"Row 4 of the vectors: .*Expected: finite.*What to do: embed"):
        NearestSearch(vectors[13:], 3)


def test_a_single_number_that_is_not_finite_is_refused(rng: np.random.Generator) -> None:
    vectors = spread(rng, 30, 21).astype(np.float32)
    vectors[:, 20] = np.nan
    with pytest.raises(TableError, match="Rows 0, 1, 2, 3, 4 and 25 more"):
        Cascade(vectors, 0.5)


def test_what_cannot_be_done_is_said(rng: np.random.Generator) -> None:
    vectors = spread(rng, 20, 32).astype(np.float32)
    with pytest.raises(SettingError, match="Unknown engine 'int8'"):
        Cascade(vectors, 0.5, options=Options(engine="int8"))
    with pytest.raises(SettingError, match="at most 32"):
        Cascade(vectors, 0.5, options=Options(plan=Plan((31, 64), plain=False)))
    with pytest.raises(SettingError, match="multiple of 4"):
        Cascade(vectors, 0.5, options=Options(plan=Plan((16,), plain=False)))
    with pytest.raises(IndexError, match="20 of 20 vectors"):
        Cascade(vectors, 0.5, rows=[3, 20])
    with pytest.raises(TypeError, match="float64"):
        Cascade(vectors.astype(np.float64), 0.5)
    with pytest.raises(SettingError, match="at least 1"):
        NearestSearch(vectors, 0)
    with pytest.raises(IndexError, match="of 20 rows"):
        nearest(vectors, 2, previous=Previous(np.full((20, 2), 20), np.ones((20, 2)), np.empty(0, np.int64)))


# The nearest of every row


@PROPERTY
@given(st.data())
def test_nearest_are_those_of_a_full_sort(data: st.DataObject) -> None:
    vectors = data.draw(collections())
    k = data.draw(st.sampled_from([1, 2, 5, 20, 200]))
    options = Options(
        plan=data.draw(st.sampled_from(plans_for(vectors.shape[1]))),
        engine=data.draw(st.sampled_from(ENGINES)),
        memory_bytes=data.draw(st.sampled_from([SMALL, 1 << 30])),
    )
    assert_same(nearest(vectors, k, options=options), nearest_by_sorting(vectors, k))


@PROPERTY
@given(st.data())
def test_updated_nearest_equal_those_from_nothing(data: st.DataObject) -> None:
    """Rows removed, added and changed in one go; the others get new numbers."""
    vectors = data.draw(collections().filter(len))
    k = data.draw(st.sampled_from([1, 3, 8]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    options = Options(plan=data.draw(st.sampled_from(plans_for(vectors.shape[1]))), memory_bytes=SMALL)
    old = nearest(vectors, k, options=options)

    kept = np.sort(rng.permutation(len(vectors))[: data.draw(st.integers(0, len(vectors)))])
    added = data.draw(st.integers(0, 6))
    new = vectors[rng.integers(0, len(vectors), added)] * np.float32(2)
    new[~np.isfinite(new)] = 1.0
    # New rows come in anywhere between the old ones, which keep their order.
    order = np.sort(np.concatenate([np.arange(len(kept)), rng.integers(-1, len(kept), added) + 0.5]))
    old_places, new_places = np.flatnonzero(order % 1 == 0), np.flatnonzero(order % 1)
    now = np.empty((len(order), vectors.shape[1]), np.float32)
    now[old_places], now[new_places] = vectors[kept], new
    changed = rng.permutation(old_places)[: data.draw(st.integers(0, 3))]
    now[changed] = now[changed][:, ::-1]
    number = np.full(len(vectors) + 1, -1)
    number[kept] = old_places
    rows = np.full((len(now), old.rows.shape[1]), -1)
    scores = np.zeros(rows.shape)
    rows[old_places], scores[old_places] = number[old.rows[kept]], old.scores[kept]
    fresh = np.concatenate([changed, new_places])
    # What the lists of fresh rows hold must not matter.
    rows[fresh] = rng.integers(-1, max(1, len(now)), rows[fresh].shape)

    search = NearestSearch(now, k, previous=Previous(rows, scores, fresh), options=options)
    for block in search.blocks:
        search.step(block)
    assert_same(search.result(), nearest_by_sorting(now, k))


def test_work_follows_the_change(rng: np.random.Generator) -> None:
    vectors = clusters(rng, 400, 40).astype(np.float32)
    old = nearest(vectors[:396], 5)
    rows = np.concatenate([old.rows, np.zeros((4, 5), np.int64)])
    scores = np.concatenate([old.scores, np.zeros((4, 5))])
    added = NearestSearch(vectors, 5, previous=Previous(rows, scores, np.arange(396, 400)))
    assert added.compared == 4 * 400 - 4 * 5 // 2
    gone = np.where(old.rows == 7, -1, old.rows)
    lost = NearestSearch(vectors[:396], 5, previous=Previous(gone, old.scores, np.empty(0, np.int64)))
    broken = np.count_nonzero((gone < 0).any(axis=1))
    assert lost.compared == broken * 396 - broken * (broken + 1) // 2


def test_equal_scores_go_to_the_lower_row() -> None:
    vectors = np.array([[1, 0], [0, 1], [1, 0], [2, 0], [0, 3], [4, 0]], np.float32)
    found = nearest(vectors, 3)
    assert found.rows.tolist() == [[2, 3, 5], [4, 0, 2], [0, 3, 5], [0, 2, 5], [1, 0, 2], [0, 2, 3]]
    assert found.scores[0].tolist() == [1.0, 1.0, 1.0]


def test_a_search_goes_on_from_the_answers_of_a_killed_one(rng: np.random.Generator) -> None:
    vectors = clusters(rng, 200, 40).astype(np.float32)
    options = Options(memory_bytes=SMALL)
    first = NearestSearch(vectors, 6, options=options)
    answers = [first.step(block) for block in first.blocks[:4]]
    second = NearestSearch(vectors, 6, options=options)
    for answer in answers:
        second.absorb(answer)
    for block in second.blocks[4:]:
        second.step(block)
    assert_same(second.result(), nearest_by_sorting(vectors, 6))


def test_progress_is_told(rng: np.random.Generator) -> None:
    said = []
    nearest(
        spread(rng, 90, 4).astype(np.float32),
        2,
        options=Options(memory_bytes=SMALL),
        progress=lambda *at: said.append(at),
    )
    assert said == [(1, 3), (2, 3), (3, 3)]


# How it is loaded


def test_importing_loads_no_compiler() -> None:
    code = (
        "import sys, imgret_assets.domain.similarity.cascade.nearest_search; "
        "print('numba' in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_kernels_compile_where_nothing_can_be_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    import numba

    tried = []

    def njit(**options: Any) -> Callable[[Any], Any]:
        tried.append(options.get("cache", False))
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr(numba, "njit", njit)
    assert kernels._compiled(len) is len
    assert tried == [True, False]


@pytest.mark.parametrize(
    ("features", "engine"),
    [({"avx2", "avx512bf16", "amx-bf16"}, "int16"), ({"avx2"}, "int16"), (set(), "float32")],
)
def test_engine_follows_the_cpu(monkeypatch: pytest.MonkeyPatch, features: set[str], engine: str) -> None:
    monkeypatch.setattr(kernels, "cpu_features", lambda: frozenset(features))
    assert cascade.best_engine() == engine
