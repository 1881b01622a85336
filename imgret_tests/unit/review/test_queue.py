"""What is left to decide: order and pages, which file is kept, what comes back and what does not, what would go."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from imgret_assets.domain.duplicates.copy_search import EXACT, NEAR
from imgret_assets.domain.duplicates.duplicates_table import refresh_duplicates
from imgret_assets.domain.duplicates.pictures import Picture, _by_content
from imgret_assets.domain.embeddings.embeddings_table import refresh_embeddings
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.review import queue as review_queue
from imgret_assets.domain.review.decision_log import record, standing, undo
from imgret_assets.domain.review.decisions import (
    DUPLICATE,
    NOT_DUPLICATES,
    Decisions,
    File,
    Judgement,
    keep_all,
    keep_one,
)
from imgret_assets.domain.review.queue import SIMILAR, Undecided, load_review_queue, undecided
from imgret_assets.domain.review.removals import file_of, removals, superfluous, to_remove
from imgret_assets.domain.review.review_sets import ReviewSet
from imgret_assets.domain.similarity.pairs_table import refresh_pairs
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.errors import DecisionError, StaleTableError, TableError
from imgret_assets.settings import load_settings
from imgret_tests.support.fake_model import FakeEmbedder
from imgret_tests.support.tree import put
from imgret_tests.unit.duplicates.test_copy_search import copies_of, saved, scene

SPACE = FakeEmbedder().space.id
pytestmark = pytest.mark.usefixtures("settled")


def refresh(home: Home, *, threshold: float = 0.8) -> None:
    refresh_manifest(home)
    refresh_embeddings(home, FakeEmbedder())
    refresh_duplicates(home, SPACE)
    refresh_pairs(home, SPACE, threshold)


def put_copies(home: Home, seed: int, *names: str, under: str = "copies") -> list[str]:
    data = copies_of(scene(seed))
    return [put(home.images, f"{under}/{seed}-{name}", data[name]) for name in names]


@pytest.fixture
def copied(home: Home) -> Home:
    """Two scenes with near copies, one of them twice; two files of the same bytes; two that are alone."""
    for seed in range(4):
        put(home.images, f"scene{seed}.png", saved(scene(seed)))
    put_copies(home, 0, "half.png", "recompressed.jpg")
    put_copies(home, 1, "half.png")
    put(home.images, "again/1-half.png", copies_of(scene(1))["half.png"])
    put(home.images, "again/scene2.png", saved(scene(2)))
    refresh(home, threshold=-0.9)
    return home


def paths(one: ReviewSet) -> list[str]:
    return [member.path for member in one.members]


def left(home: Home, kind: str = NEAR) -> list[list[str]]:
    return [paths(one) for one in undecided(home).sets(kind)]


def only(home: Home, kind: str = NEAR) -> ReviewSet:
    [found] = undecided(home).sets(kind)
    return found


def guarded(home: Home, folders: str) -> Home:
    return replace(home, settings=replace(home.settings, protected=load_settings({"protected": folders}).protected))


# Sets of the tables


def test_sets_and_pairs_are_told_apart_and_the_one_to_keep_is_first(copied: Home) -> None:
    found = undecided(copied)
    first, second = found.sets(NEAR)
    assert {first.keep.path, second.keep.path} == {"scene0.png", "scene1.png"}
    ones = next(one for one in (first, second) if one.keep.path == "scene1.png")
    assert sorted(paths(ones)) == ["again/1-half.png", "copies/1-half.png", "scene1.png"]
    assert ones.reason == "240 x 180, most pixels"
    row = {row["path_from"]: row for row in tables.read(tables.duplicates_path(copied.warehouse)).to_pylist()}
    for member in (*first.copies, *second.copies):
        wanted = row[member.path]
        assert (member.kind, member.distance, member.cosine) == (NEAR, wanted["distance"], wanted["cosine"])
        assert (member.correlation, member.bytes) == (wanted["correlation"], wanted["bytes"])
        assert member.proposed
        assert (member.width, member.height) == ((120, 90) if "half" in member.path else (240, 180))
    [exact] = found.sets(EXACT)
    assert paths(exact) == ["scene2.png", "again/scene2.png"]
    assert exact.reason == "240 x 180, shortest path"
    assert (exact.copies[0].kind, exact.copies[0].cosine, exact.copies[0].distance) == (EXACT, 1.0, 0)
    assert exact.proposed_bytes == exact.keep.bytes
    pairs = {frozenset(paths(one)) for one in found.sets(SIMILAR)}
    assert pairs <= {frozenset(pair) for pair in combinations([f"scene{seed}.png" for seed in range(4)], 2)}
    assert len(pairs) >= 3
    assert found.counts == {EXACT: 1, NEAR: 2, SIMILAR: len(pairs)}
    assert found.notes == []


def test_similar_pairs_come_by_their_cosine_and_nothing_of_them_is_proposed(copied: Home) -> None:
    stored = tables.read(tables.pairs_path(copied.warehouse, SPACE)).to_pylist()
    score = {frozenset((row["path_a"], row["path_b"])): row["score"] for row in stored}
    found = list(undecided(copied).sets(SIMILAR))
    cosines = [one.weakest_cosine or 0.0 for one in found]
    assert cosines == sorted(cosines, reverse=True)
    assert cosines == [score[frozenset(paths(one))] for one in found]
    for one in found:
        assert not any(member.proposed for member in one.members)
        assert one.suggested() == one.keeping_all()
    # The file that a copy is a copy of stands for it.
    assert len(stored) > len(found)


def test_pages_hold_each_set_once_in_order(copied: Home) -> None:
    found = undecided(copied)
    everything = list(found.sets(SIMILAR))
    one_by_one = [found.page(SIMILAR, number, 2) for number in (1, 2)]
    assert [one for page in one_by_one for one in page.sets] == everything[:4]
    assert (one_by_one[0].total, one_by_one[0].pages) == (len(everything), -(-len(everything) // 2))
    beyond = found.page(SIMILAR, 99, 2)
    assert beyond.number == beyond.pages
    assert beyond.sets == everything[2 * (beyond.pages - 1) :]
    assert found.page(EXACT, 0).number == 1
    with pytest.raises(DecisionError, match="no kind 'other'"):
        found.page("other")


def test_a_set_is_found_by_any_of_its_files(copied: Home) -> None:
    found = undecided(copied).find("copies/0-half.png")
    assert found is not None
    assert found.keep.path == "scene0.png"
    assert undecided(copied).find("scene3.png") is None


def test_near_sets_come_by_their_weakest_correlation_and_exact_ones_by_what_they_free(home: Home) -> None:
    for seed in range(3):
        put(home.images, f"scene{seed}.png", saved(scene(seed)))
    put_copies(home, 0, "half.png")
    put_copies(home, 1, "cropped.png", "half.png")
    put_copies(home, 2, "recompressed.jpg")
    for size in (60, 120):
        for name in ("one", "two"):
            put(home.images, f"{name}/{size}.png", saved(scene(7 + size, (size, size))))
    refresh(home)
    correlations = [min(one.correlation or 0 for one in found.copies) for found in undecided(home).sets(NEAR)]
    assert correlations == sorted(correlations, reverse=True)
    assert len(correlations) == 3
    freed = [one.proposed_bytes for one in undecided(home).sets(EXACT)]
    assert len(freed) == 2
    assert freed == sorted(freed, reverse=True)


def test_an_empty_collection_leaves_nothing_to_decide(home: Home) -> None:
    refresh(home)
    assert undecided(home).counts == {EXACT: 0, NEAR: 0, SIMILAR: 0}
    page = undecided(home).page(EXACT)
    assert (page.sets, page.number, page.pages, page.total) == ([], 1, 1, 0)


def test_missing_and_stale_tables_are_named(copied: Home) -> None:
    table = tables.duplicates_path(copied.warehouse)
    pairs = tables.pairs_path(copied.warehouse, SPACE)
    pairs.unlink()
    assert undecided(copied).counts[SIMILAR] == 0
    assert "no table of pairs" in undecided(copied).notes[0]
    put(copied.images, "new.png", saved(scene(9)))
    refresh_manifest(copied)
    refresh_embeddings(copied, FakeEmbedder())
    with pytest.raises(StaleTableError, match="duplicates table is older than the embeddings"):
        undecided(copied)
    refresh_duplicates(copied, SPACE)
    refresh_pairs(copied, SPACE, 0.5)
    assert undecided(copied).notes == []
    put(copied.images, "new.png", saved(scene(10)))
    refresh_manifest(copied)
    refresh_embeddings(copied, FakeEmbedder())
    refresh_duplicates(copied, SPACE)
    assert "pairs table is older" in undecided(copied).notes[0]
    table.unlink()
    with pytest.raises(TableError, match="duplicates table is missing"):
        undecided(copied)


def test_tables_are_read_again_only_when_they_changed(copied: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    loads = 0

    def load(home: Home) -> Any:
        nonlocal loads
        loads += 1
        return load_review_queue(home)

    monkeypatch.setattr(review_queue, "load_review_queue", load)
    review_queue._QUEUES.clear()
    first = undecided(copied)
    assert undecided(copied) is first
    record(copied, only(copied, EXACT).keeping_all())
    assert undecided(copied) is not first
    assert loads == 1
    undecided(guarded(copied, "again"))
    put(copied.images, "new.png", saved(scene(9)))
    refresh(copied)
    undecided(copied)
    assert loads == 3


# Deciding


def test_accepting_the_proposal_takes_the_set_off_the_list(copied: Home) -> None:
    for one in list(undecided(copied).sets(NEAR)):
        record(copied, one.suggested())
    assert left(copied) == []
    assert len(left(copied, EXACT)) == 1
    gone = {one.path: one.keep for one in to_remove(copied)}
    assert gone == {
        "copies/0-half.png": "scene0.png",
        "copies/0-recompressed.jpg": "scene0.png",
        "copies/1-half.png": "scene1.png",
        "again/1-half.png": "scene1.png",
    }


def test_keeping_all_takes_the_set_off_the_list_and_removes_nothing(copied: Home) -> None:
    batch = record(copied, [one for found in undecided(copied).sets(NEAR) for one in found.keeping_all()])
    assert left(copied) == []
    assert to_remove(copied) == []
    undo(copied, batch)
    assert len(left(copied)) == 2


@pytest.mark.parametrize("chosen", ["copies/1-half.png", "again/1-half.png"])
def test_another_one_than_proposed_can_be_kept(copied: Home, chosen: str) -> None:
    found = undecided(copied).find(chosen)
    assert found is not None
    record(copied, found.choosing([chosen]))
    assert undecided(copied).find(chosen) is None
    assert {one.path for one in to_remove(copied)} == {*paths(found)} - {chosen}


def test_several_can_be_kept(copied: Home) -> None:
    found = undecided(copied).find("scene0.png")
    assert found is not None
    record(copied, found.choosing(["scene0.png", "copies/0-half.png"]))
    assert undecided(copied).find("scene0.png") is None
    [gone] = to_remove(copied)
    assert (gone.path, gone.keep) == ("copies/0-recompressed.jpg", "scene0.png")
    assert gone.bytes == (copied.images / gone.path).stat().st_size


def test_wrong_choices_are_refused(copied: Home) -> None:
    found = only(copied, EXACT)
    with pytest.raises(DecisionError, match="No file of the set would be kept"):
        found.choosing([])
    with pytest.raises(DecisionError, match=r"scene3\.png is not in the set of scene2\.png"):
        found.choosing(["scene2.png", "scene3.png"])


def test_deciding_on_one_copy_leaves_the_others_on_the_list(copied: Home) -> None:
    found = undecided(copied).find("scene0.png")
    assert found is not None
    half = file_of(copied, "copies/0-half.png")
    record(copied, [keep_one(found.keep.file, [half])])
    again = undecided(copied).find("scene0.png")
    assert again is not None
    state = {one.path: (one.proposed, one.removal is not None) for one in again.copies}
    assert state == {"copies/0-half.png": (False, True), "copies/0-recompressed.jpg": (True, False)}
    record(copied, again.suggested())
    assert undecided(copied).find("scene0.png") is None
    assert len(to_remove(copied)) == 2


def test_a_decided_similar_pair_is_not_shown_again(copied: Home) -> None:
    before = [frozenset(pair) for pair in left(copied, SIMILAR)]
    first = next(undecided(copied).sets(SIMILAR))
    record(copied, first.keeping_all())
    assert [frozenset(pair) for pair in left(copied, SIMILAR)] == before[1:]
    # What is to be removed is similar to nothing any more.
    record(copied, [keep_one(file_of(copied, "scene3.png"), [file_of(copied, "scene0.png")])])
    assert not any("scene0.png" in pair for pair in left(copied, SIMILAR))


# What comes back


def test_a_decision_survives_renames_and_a_rescan(copied: Home) -> None:
    for kind in (EXACT, NEAR):
        for one in list(undecided(copied).sets(kind)):
            record(copied, one.keeping_all())
    (copied.images / "albums").mkdir()
    for file in sorted(copied.images.rglob("*.*")):
        file.rename(copied.images / "albums" / f"{file.parent.name}-{file.name}")
    refresh(copied)
    assert len(tables.read(tables.duplicates_path(copied.warehouse))) == 5
    assert (left(copied), left(copied, EXACT)) == ([], [])


def test_a_kept_set_comes_back_when_an_image_joins_and_only_that_is_proposed(copied: Home) -> None:
    for one in list(undecided(copied).sets(NEAR)):
        record(copied, one.keeping_all())
    put_copies(copied, 0, "brighter.jpg")
    refresh(copied)
    back = only(copied)
    assert back.keep.path == "scene0.png"
    assert {one.path: (one.proposed, one.kept) for one in back.members} == {
        "scene0.png": (False, True),
        "copies/0-half.png": (False, True),
        "copies/0-recompressed.jpg": (False, True),
        "copies/0-brighter.jpg": (True, False),
    }
    record(copied, back.suggested())
    assert left(copied) == []
    assert [one.path for one in to_remove(copied)] == ["copies/0-brighter.jpg"]


def test_a_joining_image_that_is_better_takes_nothing_away_that_was_kept(copied: Home) -> None:
    found = undecided(copied).find("scene0.png")
    assert found is not None
    record(copied, found.keeping_all())
    put(copied.images, "large.png", saved(scene(0).resize((480, 360))))
    refresh(copied)
    back = undecided(copied).find("large.png")
    assert back is not None
    assert back.keep.path == "large.png"
    assert not any(one.proposed for one in back.members)
    record(copied, back.suggested())
    assert undecided(copied).find("large.png") is None
    assert to_remove(copied) == []


def test_when_the_kept_one_goes_what_was_kept_beside_it_stays_decided(copied: Home) -> None:
    for one in list(undecided(copied).sets(NEAR)):
        record(copied, one.keeping_all())
    (copied.images / "scene0.png").unlink()
    refresh(copied)
    assert tables.count_rows(tables.duplicates_path(copied.warehouse)) == 4
    assert left(copied) == []


def test_when_the_kept_one_goes_its_copies_are_asked_about_and_none_is_removed(copied: Home) -> None:
    for one in list(undecided(copied).sets(NEAR)):
        record(copied, one.suggested())
    (copied.images / "scene0.png").unlink()
    refresh(copied)
    assert sorted(paths(only(copied))) == ["copies/0-half.png", "copies/0-recompressed.jpg"]
    assert {one.path for one in to_remove(copied)} == {"copies/1-half.png", "again/1-half.png"}


# Files with the same bytes


def test_kept_files_of_the_same_bytes_may_move_but_not_multiply(copied: Home) -> None:
    record(copied, only(copied, EXACT).keeping_all())
    assert left(copied, EXACT) == []
    (copied.images / "again/scene2.png").rename(copied.images / "moved.png")
    refresh(copied)
    assert left(copied, EXACT) == []
    put(copied.images, "third.png", saved(scene(2)))
    refresh(copied)
    back = only(copied, EXACT)
    assert sorted(paths(back)) == ["moved.png", "scene2.png", "third.png"]
    record(copied, back.keeping_all())
    assert left(copied, EXACT) == []


def test_of_the_same_bytes_the_file_that_was_decided_on_goes_and_no_other(copied: Home) -> None:
    record(copied, only(copied, EXACT).choosing(["again/scene2.png"]))
    assert [(one.path, one.keep) for one in to_remove(copied)] == [("scene2.png", "again/scene2.png")]
    (copied.images / "again/scene2.png").rename(copied.images / "moved.png")
    refresh(copied)
    # The bytes are still there under another name, and it is still this file that was not needed.
    assert [(one.path, one.keep) for one in to_remove(copied)] == [("scene2.png", "moved.png")]
    assert left(copied, EXACT) == []
    (copied.images / "moved.png").unlink()
    refresh(copied)
    assert to_remove(copied) == []
    (copied.images / "scene2.png").rename(copied.images / "last.png")
    put(copied.images, "new.png", saved(scene(2)))
    refresh(copied)
    assert to_remove(copied) == []
    assert len(left(copied, EXACT)) == 1


# Protected folders


def test_a_protected_file_is_the_one_to_keep(copied: Home) -> None:
    home = guarded(copied, "copies")
    exact = only(home, EXACT)
    assert exact.keep.path == "scene2.png"
    zero, one = (undecided(home).find(f"copies/{seed}-half.png") for seed in range(2))
    assert zero is not None
    assert one is not None
    assert one.keep.path == "copies/1-half.png"
    assert one.reason == "120 x 90, in the protected folder copies"
    figures = {member.path: (member.kind, member.distance is None) for member in one.copies}
    assert figures == {"again/1-half.png": (EXACT, False), "scene1.png": (NEAR, False)}
    assert all(member.proposed for member in one.copies)
    # Two are protected: neither goes, and what was never measured between two copies is not made up.
    assert [member.path for member in zero.members if member.protected] == [
        "copies/0-recompressed.jpg",
        "copies/0-half.png",
    ]
    half = next(member for member in zero.members if member.path == "copies/0-half.png")
    assert (half.kind, half.distance, half.cosine, half.proposed) == (NEAR, None, None, False)
    record(home, [judged for found in (zero, one) for judged in found.suggested()])
    assert left(home) == []
    assert {gone.path for gone in to_remove(home)} == {"scene0.png", "scene1.png", "again/1-half.png"}


def test_what_is_protected_later_is_no_longer_removed(copied: Home) -> None:
    for one in list(undecided(copied).sets(NEAR)):
        record(copied, one.suggested())
    assert len(to_remove(copied)) == 4
    home = guarded(copied, "copies")
    assert [one.path for one in to_remove(home)] == ["again/1-half.png"]
    assert left(home) == []


def test_a_set_that_is_protected_as_a_whole_is_not_listed(copied: Home) -> None:
    assert undecided(guarded(copied, ".")).counts == {EXACT: 0, NEAR: 0, SIMILAR: 0}
    some = undecided(guarded(copied, "copies,again"))
    assert some.counts[EXACT] == 1
    assert all(one.keep.protected for one in some.sets(NEAR))


# What would be removed


def test_files_that_changed_since_are_left_out(copied: Home) -> None:
    for one in list(undecided(copied).sets(NEAR)):
        record(copied, one.suggested())
    put(copied.images, "copies/0-half.png", saved(scene(33)))
    (copied.images / "scene1.png").unlink()
    found = removals(copied)
    assert [one.path for one in found.files] == ["copies/0-recompressed.jpg"]
    assert found.bytes == found.files[0].bytes
    assert {one.path for one in found.changed} == {"copies/0-half.png", "copies/1-half.png", "again/1-half.png"}


def test_a_file_that_is_not_in_the_library_is_no_file_to_decide_about(copied: Home) -> None:
    with pytest.raises(TableError, match=r"nowhere\.png is not among the usable images"):
        file_of(copied, "nowhere.png")


def pictures(names: str, paths_of: int = 1) -> list[Picture]:
    """Contents `a` to `z`, each at some paths."""
    return [Picture(f"{name}{number}", name, 10, 4, 4) for name in names for number in range(paths_of)]


def decided(tmp_path: Path, *said: Judgement) -> Decisions:
    home = open_home(load_settings({"home": tmp_path / "decided", "shards": 1}))
    for one in said:
        record(home, [one])
    return standing(home)


def drop(copy: str, keep: str) -> Judgement:
    return keep_one(File(keep, keep[0]), [File(copy, copy[0])])


def gone(tmp_path: Path, there: Sequence[Picture], *said: Judgement) -> dict[str, str]:
    return {path: one.keep for path, one in superfluous(_by_content(there), decided(tmp_path, *said)).items()}


def test_who_is_kept_for_somebody_may_go_for_another(tmp_path: Path) -> None:
    assert gone(tmp_path, pictures("abc"), drop("a0", "b0"), drop("b0", "c0")) == {"a0": "c0", "b0": "c0"}


def test_decisions_in_a_circle_remove_nothing(tmp_path: Path) -> None:
    circle = [drop("a0", "b0"), drop("b0", "c0"), drop("c0", "a0")]
    assert gone(tmp_path, pictures("abcd"), *circle, drop("d0", "a0")) == {}
    assert gone(tmp_path, pictures("abcd"), *circle, drop("a0", "d0")) == {"a0": "d0", "c0": "d0", "b0": "d0"}


def test_of_a_content_all_files_go(tmp_path: Path) -> None:
    there = pictures("ab", paths_of=2)
    assert gone(tmp_path, there, drop("a0", "b1")) == {"a0": "b1", "a1": "b1"}


def test_what_is_no_longer_there_keeps_nothing(tmp_path: Path) -> None:
    assert gone(tmp_path, pictures("ac"), drop("a0", "b0"), drop("c0", "a0")) == {"c0": "a0"}


@hypothesis_settings(max_examples=80, deadline=None)
@given(
    said=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7), st.booleans()), max_size=14),
    here=st.sets(st.integers(0, 7)),
    safe=st.sets(st.integers(0, 7)),
)
def test_no_content_is_ever_lost(
    tmp_path_factory: pytest.TempPathFactory, said: list[tuple[int, int, bool]], here: set[int], safe: set[int]
) -> None:
    """Whatever is decided: each file that goes leaves another that was said to be the same picture, and that stays."""
    files = [File(f"{'safe' if number in safe else 'free'}/{number}", f"{number % 5}") for number in range(8)]
    there = [Picture(files[number].path, files[number].sha256, 1, 1, 1) for number in sorted(here)]
    judged = [
        keep_all([files[a], files[b]]) if keep else keep_one(files[a], [files[b]]) for a, b, keep in said if a != b
    ]
    decisions = decided(tmp_path_factory.mktemp("home"), *judged)
    found = superfluous(_by_content(there), decisions, ["safe"])
    staying = {one.path: one.sha256 for one in there if one.path not in found}
    if there:
        assert staying
    for path, one in found.items():
        assert path.startswith("free/")
        assert one.keep in staying
        assert one.decision.verdict == DUPLICATE
        assert one.decision.kept_and_copy[1].sha256 == one.file.sha256
        # From one kept file to the next, by decisions in force, it is the one named.
        reached, waiting = set[str](), [one.file.sha256]
        while waiting:
            content = waiting.pop()
            if content not in reached:
                reached.add(content)
                waiting += [
                    kept.sha256
                    for decision in decisions.in_force()
                    if decision.verdict == DUPLICATE
                    for kept, copy in [decision.kept_and_copy]
                    if copy.sha256 == content
                ]
        assert staying[one.keep] in reached


def test_the_limit_of_similar_pairs_keeps_the_tightest(copied: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = left(copied, SIMILAR)
    monkeypatch.setattr(review_queue, "MOST_SIMILAR", 2)
    queue = load_review_queue(copied)
    assert queue.more_similar == len(everything) - 2
    assert [paths(one) for one in queue.undecided(standing(copied)).sets(SIMILAR)] == everything[:2]
    assert queue.scores.dtype == np.float64


def test_a_decision_between_verdicts_is_seen_by_state(copied: Home) -> None:
    record(copied, only(copied, EXACT).suggested())
    assert [entry.verdict for entry in standing(copied).in_force()] == [DUPLICATE]
    record(copied, only_again(copied))
    assert [entry.verdict for entry in standing(copied).in_force()] == [NOT_DUPLICATES]
    assert to_remove(copied) == []


def only_again(home: Home) -> list[Judgement]:
    return [keep_all([file_of(home, path) for path in ("scene2.png", "again/scene2.png")])]


@hypothesis_settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_what_is_left_is_the_same_whatever_was_known_before(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Sets of eight pictures, some with the same bytes, pairs of the rest; decisions and undoes."""
    there = [
        Picture(f"{'safe' if number == 3 else 'free'}/{number}", f"{number % 6}", 10, 4, 4) for number in range(10)
    ]
    stars = [
        review_queue._Star(0, [review_queue._Link(number, NEAR, 1, 0.99, 0.9) for number in (1, 2, 6)], NEAR, ()),
        review_queue._Star(3, [review_queue._Link(4, NEAR, 1, 0.98, 0.9)], NEAR, ()),
        review_queue._Star(5, [review_queue._Link(7, EXACT, 0, None, None)], EXACT, ()),
    ]
    similar = np.array(list(combinations([0, 3, 5, 8, 9], 2)), np.int32)
    queue = review_queue.ReviewQueue(there, stars, similar, np.linspace(0.9, 0.8, len(similar)), 0, ("safe",))
    home = open_home(load_settings({"home": tmp_path_factory.mktemp("home"), "shards": 1}))
    batches: list[str] = []
    for _ in range(data.draw(st.integers(1, 8))):
        if batches and data.draw(st.booleans()):
            batches.append(undo(home, batches.pop(data.draw(st.integers(0, len(batches) - 1)))))
        else:
            chosen = data.draw(st.lists(st.sampled_from(queue.files), min_size=2, max_size=4, unique=True))
            batches.append(
                record(home, [keep_all(chosen) if data.draw(st.booleans()) else keep_one(chosen[0], chosen[1:])])
            )
        step_by_step, at_once = queue.undecided(standing(home)), Undecided(queue, standing(home))
        assert step_by_step.counts == at_once.counts
        for kind in (EXACT, NEAR, SIMILAR):
            assert list(step_by_step.sets(kind)) == list(at_once.sets(kind))
