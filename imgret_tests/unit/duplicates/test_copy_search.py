"""Copies of files: found, kept apart from look-alikes, pointed at the one to keep, the same whatever came before."""

import io
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from imgret_assets.domain.duplicates import copy_search, duplicates_table
from imgret_assets.domain.duplicates.copy_search import exact_copies, star_groups
from imgret_assets.domain.duplicates.duplicates_table import refresh_duplicates
from imgret_assets.domain.duplicates.fingerprints import correlations, look_at
from imgret_assets.domain.duplicates.pictures import Picture, by_content, usable_pictures
from imgret_assets.domain.embeddings.embeddings_table import refresh_embeddings
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.errors import StaleTableError
from imgret_assets.settings import load_settings
from imgret_tests.support.fake_model import FakeEmbedder
from imgret_tests.support.tree import put, stamps

SPACE = FakeEmbedder().space.id

# Hashes


def bits_apart(hashes: np.ndarray) -> np.ndarray:
    bits = np.unpackbits(hashes, axis=1).astype(np.int64)
    return (bits[:, np.newaxis] != bits[np.newaxis]).sum(axis=2)


def expected_keepers(hashes: np.ndarray, fit: np.ndarray, radius: int, least: float) -> list[int]:
    """One pair at a time: the first that is no copy keeps all later ones that fit."""
    apart = bits_apart(hashes)
    keeper = list(range(len(hashes)))
    for row in range(len(hashes)):
        for column in range(row + 1, len(hashes)):
            free = keeper[row] == row and keeper[column] == column
            if free and apart[row, column] <= radius and fit[row, column] >= least:
                keeper[column] = row
    return keeper


def crowded(rng: np.random.Generator, count: int) -> np.ndarray:
    """Hashes around a few centres, some exactly at and next to a distance of 64 bits from another."""
    centres = rng.integers(0, 256, (max(1, count // 8), 32), dtype=np.uint8)
    hashes = centres[rng.integers(len(centres), size=count)]
    for row in range(count):
        flips = rng.choice(256, rng.choice([0, 10, 31, 32, 33, 63, 64, 65]), replace=False)
        bits = np.unpackbits(hashes[row])
        bits[flips] ^= 1
        hashes[row] = np.packbits(bits)
    return hashes


def symmetric(rng: np.random.Generator, count: int) -> np.ndarray:
    fit = rng.uniform(0.8, 1.0, (count, count)).astype(np.float32)
    return np.maximum(fit, fit.T)


@pytest.mark.parametrize("block_rows", [1, 7, 512])
@pytest.mark.parametrize("count", [0, 1, 2, 300, 700])
def test_groups_are_those_of_comparing_one_by_one(rng: np.random.Generator, count: int, block_rows: int) -> None:
    hashes, fit = crowded(rng, count), symmetric(rng, count)
    apart = bits_apart(hashes) if count else np.zeros((0, 0))

    def confirm(row: int, columns: Sequence[int], bits: Sequence[int]) -> np.ndarray:
        assert list(bits) == apart[row, list(columns)].tolist()
        return fit[row, list(columns)]

    found = star_groups(hashes, np.zeros(count, dtype=bool), {}, confirm, least=0.9, block_rows=block_rows)
    assert found.tolist() == expected_keepers(hashes, fit, 64, 0.9)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), steps=st.integers(1, 4))
def test_comparing_only_what_is_new_gives_what_comparing_all_gives(seed: int, steps: int) -> None:
    """Hashes come, go and change places; between two steps only fits and compared ones are remembered."""
    rng = np.random.default_rng(seed)
    pool, fit = crowded(rng, 60), symmetric(rng, 60)
    compared: set[int] = set()
    fits: dict[tuple[int, int], tuple[int, float]] = {}
    for _ in range(steps):
        here = rng.permutation(60)[: rng.integers(1, 61)].tolist()
        rank = {name: number for number, name in enumerate(here)}
        known = {
            (min(rank[a], rank[b]), max(rank[a], rank[b])): value
            for (a, b), value in fits.items()
            if a in rank and b in rank
        }

        def confirm(row: int, columns: Sequence[int], bits: Sequence[int], here: list[int] = here) -> np.ndarray:
            for column, bit in zip(columns, bits, strict=True):
                a, b = sorted((here[row], here[column]))
                fits[a, b] = (bit, float(fit[a, b]))
            return fit[here[row], [here[column] for column in columns]]

        seen = np.array([name in compared for name in here])
        keeper = star_groups(pool[here], seen, known, confirm, least=0.93)
        assert keeper.tolist() == expected_keepers(pool[here], fit[np.ix_(here, here)], 64, 0.93)
        compared = {here[row] for row in range(len(here)) if keeper[row] == row}


def test_pictures_that_all_look_the_same_are_confirmed_once_each(rng: np.random.Generator) -> None:
    hashes = np.repeat(rng.integers(0, 256, (1, 32), dtype=np.uint8), 5000, axis=0)
    asked = 0

    def confirm(row: int, columns: Sequence[int], bits: Sequence[int]) -> np.ndarray:
        nonlocal asked
        asked += len(columns)
        return np.ones(len(columns), np.float32)

    assert set(star_groups(hashes, np.zeros(5000, dtype=bool), {}, confirm).tolist()) == {0}
    assert asked == 4999


# The rule


def file(path: str, sha: str = "x", size: int = 10, width: int = 4, height: int = 4) -> Picture:
    return Picture(path, sha, size, width, height)


@pytest.mark.parametrize(
    ("keep", "copy"),
    [
        (file("longer/path.png", size=1, width=5), file("a.png", size=99)),
        (file("longer/path.png", size=11), file("a.png")),
        (file("b.png"), file("aa.png")),
        (file("a.png"), file("b.png")),
    ],
)
def test_what_is_kept(keep: Picture, copy: Picture) -> None:
    [group] = by_content([copy, keep])
    assert group == [keep, copy]
    [row] = exact_copies([group])
    assert (row.keep, row.copy, row.kind) == (keep, copy, "exact")
    assert row.reason.startswith("same bytes; kept: ")


# Pictures


def scene(seed: int, size: tuple[int, int] = (240, 180)) -> Image.Image:
    """Something with structure on many scales."""
    rng = np.random.default_rng(seed)
    whole = np.zeros((size[1], size[0], 3))
    for cells in (4, 9, 20):
        part = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        whole += np.asarray(part.resize(size, Image.Resampling.BICUBIC), dtype=float)
    return Image.fromarray((whole / 3).astype(np.uint8))


def saved(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def copies_of(image: Image.Image) -> dict[str, bytes]:
    width, height = image.size
    x, y = round(width * 0.02), round(height * 0.02)
    return {
        "recompressed.jpg": saved(image, "JPEG", quality=45),
        "half.png": saved(image.resize((width // 2, height // 2))),
        "cropped.png": saved(image.crop((x, y, width - x, height - y))),
        "brighter.jpg": saved(ImageEnhance.Brightness(image).enhance(1.15), "JPEG", quality=60),
    }


def test_correlation_is_the_same_both_ways_and_one_for_the_same() -> None:
    looks = [look_at(scene(seed)).grey for seed in range(6)]
    greys = np.stack([grey for grey in looks if grey is not None])
    there = np.stack([correlations(one, greys) for one in greys])
    np.testing.assert_allclose(there, there.T, atol=1e-5)
    np.testing.assert_allclose(np.diag(there), 1.0, atol=1e-5)
    assert there[~np.eye(6, dtype=bool)].max() < 0.8


def test_a_picture_without_structure_is_flat() -> None:
    look = look_at(Image.new("RGB", (50, 40), (200, 200, 200)))
    assert (look.status, look.hash, look.grey) == ("flat", None, None)


def refresh(home: Home) -> duplicates_table.DuplicatesReport:
    refresh_manifest(home)
    refresh_embeddings(home, FakeEmbedder())
    return refresh_duplicates(home, SPACE)


def rows(home: Home) -> dict[str, dict[str, Any]]:
    found = tables.read(tables.duplicates_path(home.warehouse)).to_pylist()
    assert len({row["path_from"] for row in found}) == len(found)
    assert not {row["path_from"] for row in found} & {row["path_keep"] for row in found}
    return {row["path_from"]: row for row in found}


@pytest.fixture
def copied(home: Home) -> Home:
    """Three scenes, copies of two of them, one flat picture twice."""
    for seed in range(3):
        put(home.images, f"scene{seed}.png", saved(scene(seed)))
    for seed in range(2):
        for name, data in copies_of(scene(seed)).items():
            put(home.images, f"copies/{seed}-{name}", data)
    put(home.images, "other/scene1-again.png", saved(scene(1)))
    put(home.images, "other/half-again.png", copies_of(scene(1))["half.png"])
    put(home.images, "flat/a.png", saved(Image.new("RGB", (50, 40), (200, 200, 200))))
    put(home.images, "flat/b.png", saved(Image.new("RGB", (50, 40), (200, 200, 200))))
    put(home.images, "flat/c.png", saved(Image.new("RGB", (50, 41), (200, 200, 200))))
    return home


@pytest.mark.usefixtures("settled")
def test_copies_point_at_the_one_to_keep(copied: Home) -> None:
    report = refresh(copied)
    found = rows(copied)
    expected = {f"copies/{seed}-{name}": f"scene{seed}.png" for seed in range(2) for name in copies_of(scene(seed))}
    expected |= {
        "other/scene1-again.png": "scene1.png",
        "other/half-again.png": "scene1.png",
        "flat/b.png": "flat/a.png",
    }
    assert {path: row["path_keep"] for path, row in found.items()} == expected
    assert {path for path, row in found.items() if row["kind"] == "exact"} == {"other/scene1-again.png", "flat/b.png"}
    assert (report.exact, report.near, report.files) == (2, 9, 16)
    assert report.bytes == sum((copied.images / path).stat().st_size for path in found)
    near = [row for row in found.values() if row["kind"] == "near"]
    assert all(row["correlation"] >= 0.96 and 0 <= row["distance"] <= 64 and row["cosine"] >= 0.5 for row in near)
    assert "kept: 240 x 180 pixels, not 120 x 90" in found["copies/0-half.png"]["reason"]
    assert tables.read(tables.duplicates_path(copied.warehouse)).schema.equals(tables.DUPLICATES_SCHEMA)


@pytest.mark.usefixtures("settled")
def test_nothing_changed_writes_and_looks_at_nothing(copied: Home) -> None:
    first = refresh(copied)
    before = stamps(copied.warehouse)
    again = refresh(copied)
    assert (again.written, again.looked_at, again.compared) == (False, 0, 0)
    assert (again.exact, again.near, again.bytes) == (first.exact, first.near, first.bytes)
    assert stamps(copied.warehouse) == before


@pytest.mark.usefixtures("settled")
def test_only_new_contents_are_looked_at(copied: Home) -> None:
    first = refresh(copied)
    assert first.looked_at == 13
    (copied.images / "scene2.png").rename(copied.images / "renamed.png")
    put(copied.images, "new.png", saved(scene(7)))
    put(copied.images, "new-small.png", copies_of(scene(7))["half.png"])
    report = refresh(copied)
    assert (report.looked_at, report.compared) == (2, 1)
    assert rows(copied)["new-small.png"]["path_keep"] == "new.png"


@pytest.mark.usefixtures("settled")
def test_when_the_kept_one_goes_the_next_best_is_kept(copied: Home) -> None:
    refresh(copied)
    (copied.images / "scene0.png").unlink()
    refresh(copied)
    kept = {row["path_keep"] for path, row in rows(copied).items() if path.startswith("copies/0")}
    assert kept == {"copies/0-brighter.jpg"} or kept == {"copies/0-recompressed.jpg"}


@pytest.mark.usefixtures("settled")
def test_a_stopped_run_goes_on_where_it_was(copied: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copy_search, "CHECKPOINT", 1)
    real = duplicates_table.look_at_files

    def stopping(*arguments: Any, **named: Any) -> Iterator[Any]:
        for number, found in enumerate(real(*arguments, **named)):
            if number == 5:
                raise KeyboardInterrupt
            yield found

    with monkeypatch.context() as patched:
        patched.setattr(duplicates_table, "look_at_files", stopping)
        with pytest.raises(KeyboardInterrupt):
            refresh(copied)
    assert not tables.duplicates_path(copied.warehouse).exists()
    report = refresh(copied)
    assert report.looked_at == 13 - 5
    assert (report.exact, report.near) == (2, 9)


@pytest.mark.usefixtures("settled")
def test_a_file_that_can_not_be_read_is_tried_again(copied: Home) -> None:
    refresh_manifest(copied)
    refresh_embeddings(copied, FakeEmbedder())
    hidden = copied.images / "scene1.png"
    hidden.rename(copied.images / ".hidden")
    (copied.images / "other/scene1-again.png").rename(copied.images / ".hidden2")
    assert refresh_duplicates(copied, SPACE).pending == 1
    (copied.images / ".hidden").rename(hidden)
    (copied.images / ".hidden2").rename(copied.images / "other/scene1-again.png")
    report = refresh_duplicates(copied, SPACE)
    assert (report.pending, report.looked_at, report.near) == (0, 1, 9)


@pytest.mark.usefixtures("settled")
def test_a_low_cosine_objects(copied: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates_table, "cosines", lambda left, right: np.full(len(left), 0.49))
    report = refresh(copied)
    # What is the same by its bytes needs no cosine.
    assert (report.exact, report.near) == (3, 0)


def test_stale_embeddings_are_refused(copied: Home) -> None:
    refresh(copied)
    put(copied.images, "new.png", saved(scene(9)))
    refresh_manifest(copied)
    with pytest.raises(StaleTableError, match="older than its manifest"):
        refresh_duplicates(copied, SPACE)


def test_an_empty_collection_has_an_empty_table(home: Home) -> None:
    assert refresh(home).files == 0
    assert rows(home) == {}


SCENES = {f"{seed}{name}": data for seed in range(3) for name, data in copies_of(scene(seed, (96, 80))).items()}
SCENES |= {f"{seed}whole.png": saved(scene(seed, (96, 80))) for seed in range(3)}


@pytest.mark.usefixtures("settled")
@settings(max_examples=8, deadline=None)
@given(
    steps=st.lists(
        st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from([None, *SCENES]), max_size=6),
        min_size=2,
        max_size=3,
    )
)
def test_the_table_equals_one_made_from_nothing(steps: list[dict[str, str | None]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        images = Path(name) / "images"
        images.mkdir()
        kept = open_home(load_settings({"home": Path(name) / "kept", "images": images, "shards": 2}))
        for number, step in enumerate(steps):
            for stem, content in step.items():
                for old in images.glob(f"{stem}.*"):
                    old.unlink()
                if content:
                    put(images, stem + Path(content).suffix, SCENES[content])
            put(images, "stays.png", SCENES["0whole.png"])
            refresh_manifest(kept, allow_deletes=True)
            refresh_embeddings(kept, FakeEmbedder())
            refresh_duplicates(kept, SPACE)
            fresh = open_home(replace(kept.settings, home=Path(name) / f"fresh{number}"))
            refresh(fresh)
            assert rows(kept) == rows(fresh)
            assert usable_pictures(kept, SPACE) == usable_pictures(fresh, SPACE)
