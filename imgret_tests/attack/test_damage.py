"""Damage to every kind of file of a finished home: healed or named, never silent.

One file at a time gets a flipped bit, is cut to half, emptied, overwritten or removed. Then the home is read as a query
reads it, a run refreshes all tables, and everything is compared with the undamaged home. The model is a fake: damage to
the files of a converted model is in `unit/inference/test_openvino_engine.py`.
"""

import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imgret_assets.domain.images import manifest
from imgret_assets.domain.review.decision_log import DecisionReader, decisions_path, record
from imgret_assets.domain.review.decisions import File, keep_all
from imgret_assets.domain.search.vector_cache import cached_vectors
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.errors import ImgretError
from imgret_assets.settings import load_settings
from imgret_tests.support.caught_up import catch_up
from imgret_tests.support.fake_model import FakeEmbedder
from imgret_tests.support.photos import write_photos
from imgret_tests.support.pictures import write_pictures

KINDS = ("bit", "half", "empty", "garbage", "removed")
HEALED, NAMED, SILENT, TRACEBACK = "healed", "named", "silent", "traceback"
SAMPLE = 12
# Locks, and records of times that no answer depends on.
LEFT_OUT = ("locks", "verified.json")


@dataclass(frozen=True)
class Finished:
    """A finished home, what it answers, and the images that it was made of."""

    folder: Path
    images: Path
    contents: dict[str, Any]


def open_at(folder: Path, images: Path) -> Home:
    return open_home(load_settings({"home": folder, "images": images, "lock_timeout_s": 10}))


def read_everything(home: Home) -> dict[str, Any]:
    """Return the rows of all tables, the decisions, and the answer to a query, in a form that can be compared."""
    space = FakeEmbedder().space.id
    vectors = cached_vectors(home, space)
    contents: dict[str, Any] = {
        path.relative_to(home.path).as_posix(): tables.read(path).to_pylist()
        for path in sorted(home.warehouse.rglob("[!.]*.parquet"))
    }
    # When a file was inspected is no content of the table.
    contents["decisions"] = DecisionReader(decisions_path(home)).read()[0].events
    query = np.linspace(-1.0, 1.0, vectors.unit.shape[1])
    return contents | {"answer": vectors.rerank(query, limit=5)}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    """A home of four shards with all tables, fingerprints and three decisions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest, "RACY_NS", 0)
        folder, images = tmp_path_factory.mktemp("finished") / "home", tmp_path_factory.mktemp("images")
        write_pictures(images, 14)
        write_photos(images)
        home = open_home(load_settings({"home": folder, "images": images, "shards": 4}))
        catch_up(home, FakeEmbedder())
        for number in range(3):
            files = [File(f"{number}.png", f"{number:064x}"), File(f"{number}b.png", f"{number + 9:064x}")]
            record(home, [keep_all(files)])
        # The second run changes nothing; it verifies what the first one wrote.
        catch_up(home, FakeEmbedder())
        yield Finished(folder, images, read_everything(home))


def damage(file: Path, kind: str, rng: np.random.Generator) -> None:
    data = bytearray(file.read_bytes())
    if kind == "removed":
        file.unlink()
    elif kind == "bit":
        position = int(rng.integers(8 * len(data)))
        data[position // 8] ^= 1 << position % 8
        file.write_bytes(data)
    else:
        new = {"half": bytes(data[: len(data) // 2]), "empty": b"", "garbage": rng.bytes(len(data))}
        file.write_bytes(new[kind])


def attempt(step: Callable[[], Any]) -> tuple[str | None, Any]:
    """Run a step; return how its failure shows, None for no failure, and its result or error."""
    try:
        return None, step()
    except ImgretError as error:
        return NAMED, error
    except Exception as error:  # a traceback, for a user
        return TRACEBACK, error


def classify(finished: Finished, folder: Path, messages: list[str]) -> tuple[str, str]:
    """Query, run and query again; return what became of the damage, and details."""
    results: list[tuple[str | None, Any]] = []

    def read() -> dict[str, Any]:
        return read_everything(open_at(folder, finished.images))

    def refresh() -> None:
        catch_up(open_at(folder, finished.images), FakeEmbedder())

    for step in (read, refresh, read):
        results.append(attempt(step))
    for shown in (TRACEBACK, NAMED):
        failed = [error for how, error in results if how == shown]
        # A named error of the first query that the run has healed counts as healed below.
        if failed and (shown == TRACEBACK or results[2][0] == NAMED or results[1][0] == NAMED):
            return shown, repr(failed[0])
    if results[2][1] != finished.contents:
        return (NAMED if messages else SILENT), "other contents"
    # A missing table is no other content: its readers say that it is missing.
    first = results[0][1] if results[0][0] is None else {}
    first_differs = any(finished.contents.get(name) != value for name, value in first.items())
    return (SILENT, "other contents before the run") if first_differs and not messages else (HEALED, "")


def attacks(finished: Finished) -> list[tuple[Path, str]]:
    files = [file.relative_to(finished.folder) for file in sorted(finished.folder.rglob("*")) if file.is_file()]
    files = [file for file in files if file.parts[0] not in LEFT_OUT and file.name not in LEFT_OUT]
    return [(file, kind) for file in files if (finished.folder / file).stat().st_size for kind in KINDS]


def attack(
    finished: Finished, place: Path, chosen: list[tuple[Path, str]], caplog: pytest.LogCaptureFixture
) -> tuple[Counter[str], list[str]]:
    counts: Counter[str] = Counter()
    bad: list[str] = []
    for number, (file, kind) in enumerate(chosen):
        folder = place / f"{number}"
        shutil.copytree(finished.folder, folder)
        damage(folder / file, kind, np.random.default_rng(number))
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            outcome, details = classify(finished, folder, caplog.messages)
        counts[outcome] += 1
        if outcome in (SILENT, TRACEBACK):
            bad.append(f"{file} {kind}: {outcome} {details}")
        shutil.rmtree(folder)
    return counts, bad


@pytest.fixture(autouse=True)
def _settled(settled: None) -> None:
    """Files count as old as soon as they are listed."""


@pytest.mark.timeout(120)
def test_a_sample_of_damages_is_healed_or_named(
    finished: Finished, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    all_attacks = attacks(finished)
    chosen = [all_attacks[number] for number in np.linspace(0, len(all_attacks) - 1, SAMPLE).astype(int)]
    counts, bad = attack(finished, tmp_path, chosen, caplog)
    assert bad == []
    assert counts[HEALED] + counts[NAMED] == SAMPLE
    assert counts[HEALED] > 0


@pytest.mark.exhaustive
@pytest.mark.timeout(3600)
def test_every_damage_is_healed_or_named(finished: Finished, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # A flipped bit at several places of each file.
    chosen = attacks(finished)
    chosen += [entry for entry in chosen if entry[1] == "bit"] * 4
    assert len(chosen) >= 150
    counts, bad = attack(finished, tmp_path, chosen, caplog)
    assert not [line for line in bad if SILENT in line], (counts, bad)
    assert counts[TRACEBACK] <= 5, (counts, bad)
