"""The review queue: pages, which file is kept, which sets come back, the same result after every decision."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from imgret_assets.domain.duplicates.duplicate_search import EXACT, LOOK_FIRST, MIRRORED, NEAR, ROTATED
from imgret_assets.domain.duplicates.usable_images import UsableImage
from imgret_assets.domain.review.decision_log import read_decisions, record, undo
from imgret_assets.domain.review.decisions import keep_all, keep_one
from imgret_assets.domain.review.queue import ReviewQueue, read_review_queue
from imgret_assets.domain.review.removals import find_library_file, list_removals
from imgret_assets.domain.review.review_sets import SIMILAR
from imgret_assets.domain.review.review_tables import DuplicateRow, DuplicateSet, ReviewTables
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.errors import DecisionError
from imgret_assets.settings import load_settings
from imgret_tests.support.scenes import detailed_scene, encode, scene
from imgret_tests.support.tree import put
from imgret_tests.unit.review.library import (
    only_set,
    paths,
    put_near_duplicates,
    refresh,
    set_of,
    undecided_paths,
    with_protected,
)

pytestmark = pytest.mark.usefixtures("settled")


def keep_all_files(home: Home, kind: str = NEAR) -> None:
    for review_set in list(read_review_queue(home).sets(kind)):
        record(home, review_set.decide_keep_all())


def accept_proposals(home: Home) -> None:
    for review_set in list(read_review_queue(home).sets(NEAR)):
        record(home, review_set.decide_proposal())


def removable_paths(home: Home) -> set[str]:
    return {removal.path for removal in list_removals(home).files}


# Sets of the tables


def test_a_set_has_the_file_to_keep_first_and_the_measures_of_the_table(duplicated: Home) -> None:
    queue = read_review_queue(duplicated)
    first, second = queue.sets(NEAR)
    assert {first.keep.path, second.keep.path} == {"scene0.png", "scene1.png"}
    scene1 = set_of(duplicated, "scene1.png")
    assert sorted(paths(scene1)) == ["again/1-half.png", "copies/1-half.png", "scene1.png"]
    assert scene1.reason == "240 x 180, most pixels"
    row_of = {row["path_from"]: row for row in tables.read(tables.duplicates_path(duplicated.warehouse)).to_pylist()}
    for member in (*first.other_members, *second.other_members):
        row = row_of[member.path]
        assert (member.kind, member.distance, member.cosine) == (NEAR, row["distance"], row["cosine"])
        assert (member.correlation, member.bytes) == (row["correlation"], row["bytes"])
        assert member.proposed
        assert (member.width, member.height) == ((120, 90) if "half" in member.path else (240, 180))
    exact = only_set(duplicated, EXACT)
    assert paths(exact) == ["scene2.png", "again/scene2.png"]
    assert exact.reason == "240 x 180, shortest path"
    [duplicate] = exact.other_members
    assert (duplicate.kind, duplicate.cosine, duplicate.distance) == (EXACT, 1.0, 0)
    assert exact.proposed_bytes == exact.keep.bytes
    assert queue.counts == {EXACT: 1, NEAR: 2, SIMILAR: len(list(queue.sets(SIMILAR)))}
    assert queue.notes == []


def test_pairs_to_look_at_first_are_in_no_set_and_end_with_a_decision(duplicated: Home) -> None:
    image = scene(2, (480, 360))
    put(duplicated.images, "large/2.png", encode(image))
    put(duplicated.images, "large/2-grey.png", encode(image.convert("L")))
    for number in range(3):
        edited = image.copy()
        edited.paste((255, 0, 255), (60 + 100 * number, 200, 90 + 100 * number, 230))
        put(duplicated.images, f"large/2-edited-{number}.png", encode(edited))
    refresh(duplicated)
    queue = read_review_queue(duplicated)
    assert LOOK_FIRST not in queue.counts
    assert queue.look_counts[LOOK_FIRST] == 4
    pages = [queue.look_page(LOOK_FIRST, number, 3) for number in (1, 2, 3)]
    assert [(page.number, page.pages, page.total, len(page.sets)) for page in pages] == [
        (1, 2, 4, 3),
        (2, 2, 4, 1),
        (2, 2, 4, 1),
    ]
    pairs = [*pages[0].sets, *pages[1].sets]
    row_of = {row["path_from"]: row for row in tables.read(tables.duplicates_path(duplicated.warehouse)).to_pylist()}
    correlations = []
    for pair in pairs:
        first, second = pair.members
        row = row_of[second.path]
        assert (row["kind"], row["path_keep"]) == (LOOK_FIRST, first.path)
        assert row["reason"].startswith(f"look first: {pair.reason} (correlation ")
        assert (second.kind, second.distance, second.cosine) == (LOOK_FIRST, row["distance"], row["cosine"])
        assert (first.proposed, second.proposed, pair.proposed_bytes) == (False, False, 0)
        assert pair.decide_proposal() == pair.decide_keep_all()
        correlations.append(second.correlation)
    assert correlations == sorted(correlations, reverse=True)
    listed = {path for kind in (EXACT, NEAR) for review_set in queue.sets(kind) for path in paths(review_set)}
    assert not listed & {member.path for pair in pairs for member in pair.other_members}
    record(duplicated, pairs[0].decide_keep_all())
    record(duplicated, pairs[1].decide_keep([pairs[1].other_members[0].path]))
    left = read_review_queue(duplicated)
    gone = pairs[1].keep.path
    assert [pair.reason for pair in left.look_page(LOOK_FIRST).sets] == [
        pair.reason for pair in pairs[2:] if gone not in paths(pair)
    ]
    everything = with_protected(duplicated, ".")
    assert read_review_queue(everything).look_counts[LOOK_FIRST] == 0


def test_mirrored_and_rotated_copies_are_in_no_set_and_never_proposed(duplicated: Home) -> None:
    small = scene(3).resize((200, 150))
    put(duplicated.images, "turned/mirrored.png", encode(ImageOps.mirror(small)))
    put(duplicated.images, "turned/rotated.png", encode(small.rotate(90, expand=True)))
    duplicated = replace(duplicated, settings=replace(duplicated.settings, orientations=True))
    refresh(duplicated)
    queue = read_review_queue(duplicated)
    assert queue.look_counts == {LOOK_FIRST: 0, MIRRORED: 1, ROTATED: 1}
    names = {MIRRORED: "mirrored left to right", ROTATED: "rotated by 90 degrees to the left"}
    for kind, name in names.items():
        [pair] = queue.look_page(kind).sets
        assert (pair.kind, pair.keep.path, pair.proposed_bytes) == (kind, "scene3.png", 0)
        assert (pair.other_members[0].kind, pair.reason) == (kind, f"the other image, {name}")
    [pair] = read_review_queue(with_protected(duplicated, "turned")).look_page(ROTATED).sets
    assert (pair.keep.path, pair.reason) == (
        "turned/rotated.png",
        "the other image, rotated by 90 degrees to the right",
    )
    in_sets = {path for kind in (EXACT, NEAR) for review_set in queue.sets(kind) for path in paths(review_set)}
    assert not in_sets & {"turned/mirrored.png", "turned/rotated.png", "scene3.png"}
    record(duplicated, queue.look_page(MIRRORED).sets[0].decide_keep_all())
    assert read_review_queue(duplicated).look_counts[MIRRORED] == 0
    assert list_removals(duplicated).files == []


def test_a_protected_image_to_look_at_first_comes_first(duplicated: Home) -> None:
    put(duplicated.images, "archive/grey.png", encode(scene(2).convert("L")))
    refresh(duplicated)
    [pair] = read_review_queue(duplicated).look_page(LOOK_FIRST).sets
    assert paths(pair) == ["scene2.png", "archive/grey.png"]
    [pair] = read_review_queue(with_protected(duplicated, "archive")).look_page(LOOK_FIRST).sets
    assert paths(pair) == ["archive/grey.png", "scene2.png"]
    assert (pair.keep.protected, pair.other_members[0].kind) == (True, LOOK_FIRST)


def test_nothing_of_a_similar_pair_is_proposed(duplicated: Home) -> None:
    pairs = list(read_review_queue(duplicated).sets(SIMILAR))
    assert len(pairs) >= 3
    cosines = [pair.weakest_cosine or 0.0 for pair in pairs]
    assert cosines == sorted(cosines, reverse=True)
    for pair in pairs:
        assert not any(member.proposed for member in pair.members)
        assert pair.decide_proposal() == pair.decide_keep_all()


def test_pages_have_each_set_once_in_order(duplicated: Home) -> None:
    queue = read_review_queue(duplicated)
    everything = list(queue.sets(SIMILAR))
    pages = [queue.page(SIMILAR, number, 2) for number in (1, 2)]
    assert [review_set for page in pages for review_set in page.sets] == everything[:4]
    assert (pages[0].total, pages[0].pages) == (len(everything), -(-len(everything) // 2))
    last = queue.page(SIMILAR, 99, 2)
    assert last.number == last.pages
    assert last.sets == everything[2 * (last.pages - 1) :]
    assert queue.page(EXACT, 0).number == 1
    with pytest.raises(DecisionError, match="no kind 'other'"):
        queue.page("other")


def test_what_decisions_free_is_counted_by_batch_until_it_is_undone(duplicated: Home) -> None:
    first, second = read_review_queue(duplicated).sets(NEAR)
    batches = [record(duplicated, review_set.decide_proposal()) for review_set in (first, second)]
    queue = read_review_queue(duplicated)
    assert queue.freed_by(batches[:1]) == (len(first.other_members), first.proposed_bytes)
    assert queue.freed_by(batches) == (len(list_removals(duplicated).files), list_removals(duplicated).bytes)
    assert queue.freed_by([]) == (0, 0)
    undo(duplicated, batches[0])
    assert read_review_queue(duplicated).freed_by(batches) == (len(second.other_members), second.proposed_bytes)


def test_a_set_is_found_by_any_of_its_files(duplicated: Home) -> None:
    assert set_of(duplicated, "copies/0-half.png").keep.path == "scene0.png"
    assert read_review_queue(duplicated).find("scene3.png") is None
    assert read_review_queue(duplicated).find("nowhere.png") is None


def test_an_empty_collection_has_nothing_to_decide(home: Home) -> None:
    refresh(home)
    queue = read_review_queue(home)
    assert queue.counts == {EXACT: 0, NEAR: 0, SIMILAR: 0}
    page = queue.page(EXACT)
    assert (page.sets, page.number, page.pages, page.total) == ([], 1, 1, 0)


# Deciding


def test_accepting_the_proposal_decides_the_set(duplicated: Home) -> None:
    accept_proposals(duplicated)
    assert undecided_paths(duplicated) == []
    assert len(undecided_paths(duplicated, EXACT)) == 1


def test_keeping_all_decides_the_set_until_it_is_undone(duplicated: Home) -> None:
    sets = list(read_review_queue(duplicated).sets(NEAR))
    batch = record(duplicated, [decision for review_set in sets for decision in review_set.decide_keep_all()])
    assert undecided_paths(duplicated) == []
    undo(duplicated, batch)
    assert len(undecided_paths(duplicated)) == 2


def test_a_decision_about_one_duplicate_leaves_the_others_undecided(duplicated: Home) -> None:
    half = find_library_file(duplicated, "copies/0-half.png")
    record(duplicated, [keep_one(set_of(duplicated, "scene0.png").keep.file, [half])])
    again = set_of(duplicated, "scene0.png")
    state = {member.path: (member.proposed, member.removal is not None) for member in again.other_members}
    assert state == {"copies/0-half.png": (False, True), "copies/0-recompressed.jpg": (True, False)}
    record(duplicated, again.decide_proposal())
    assert read_review_queue(duplicated).find("scene0.png") is None
    assert len(removable_paths(duplicated)) == 2


def test_a_decided_similar_pair_does_not_come_back(duplicated: Home) -> None:
    before = [frozenset(pair) for pair in undecided_paths(duplicated, SIMILAR)]
    first = next(read_review_queue(duplicated).sets(SIMILAR))
    record(duplicated, first.decide_keep_all())
    assert [frozenset(pair) for pair in undecided_paths(duplicated, SIMILAR)] == before[1:]
    # A removable file is in no similar pair.
    keep, remove = (find_library_file(duplicated, path) for path in ("scene3.png", "scene0.png"))
    record(duplicated, [keep_one(keep, [remove])])
    assert not any("scene0.png" in pair for pair in undecided_paths(duplicated, SIMILAR))


# Sets that come back


def test_decisions_survive_renames_and_a_new_scan(duplicated: Home) -> None:
    for kind in (EXACT, NEAR):
        keep_all_files(duplicated, kind)
    duplicated.images.local("albums").mkdir()
    for file in sorted(duplicated.images.folder.rglob("*.*")):
        file.rename(duplicated.images / "albums" / f"{file.parent.name}-{file.name}")
    refresh(duplicated)
    assert len(tables.read(tables.duplicates_path(duplicated.warehouse))) == 5
    assert (undecided_paths(duplicated), undecided_paths(duplicated, EXACT)) == ([], [])


def test_a_kept_set_comes_back_with_a_new_image_and_only_that_is_proposed(duplicated: Home) -> None:
    keep_all_files(duplicated)
    put_near_duplicates(duplicated, 0, "brighter.jpg")
    refresh(duplicated)
    back = only_set(duplicated)
    assert back.keep.path == "scene0.png"
    assert {member.path: (member.proposed, member.kept) for member in back.members} == {
        "scene0.png": (False, True),
        "copies/0-half.png": (False, True),
        "copies/0-recompressed.jpg": (False, True),
        "copies/0-brighter.jpg": (True, False),
    }
    record(duplicated, back.decide_proposal())
    assert undecided_paths(duplicated) == []
    assert removable_paths(duplicated) == {"copies/0-brighter.jpg"}


def test_a_new_image_of_higher_rank_makes_no_kept_file_removable(duplicated: Home) -> None:
    record(duplicated, set_of(duplicated, "scene0.png").decide_keep_all())
    put(duplicated.images, "large.png", encode(scene(0).resize((480, 360))))
    refresh(duplicated)
    back = set_of(duplicated, "large.png")
    assert back.keep.path == "large.png"
    assert not any(member.proposed for member in back.members)
    record(duplicated, back.decide_proposal())
    assert read_review_queue(duplicated).find("large.png") is None
    assert removable_paths(duplicated) == set()


def test_a_kept_set_stays_decided_when_its_first_file_goes(duplicated: Home) -> None:
    keep_all_files(duplicated)
    duplicated.images.local("scene0.png").unlink()
    refresh(duplicated)
    assert tables.count_rows(tables.duplicates_path(duplicated.warehouse)) == 4
    assert undecided_paths(duplicated) == []


def test_duplicates_of_a_file_that_has_gone_come_back_and_none_is_removable(duplicated: Home) -> None:
    accept_proposals(duplicated)
    duplicated.images.local("scene0.png").unlink()
    refresh(duplicated)
    assert sorted(paths(only_set(duplicated))) == ["copies/0-half.png", "copies/0-recompressed.jpg"]
    assert removable_paths(duplicated) == {"copies/1-half.png", "again/1-half.png"}


def test_kept_files_with_the_same_bytes_may_move_but_not_multiply(duplicated: Home) -> None:
    record(duplicated, only_set(duplicated, EXACT).decide_keep_all())
    assert undecided_paths(duplicated, EXACT) == []
    duplicated.images.local("again/scene2.png").rename(duplicated.images / "moved.png")
    refresh(duplicated)
    assert undecided_paths(duplicated, EXACT) == []
    put(duplicated.images, "third.png", encode(scene(2)))
    refresh(duplicated)
    back = only_set(duplicated, EXACT)
    assert sorted(paths(back)) == ["moved.png", "scene2.png", "third.png"]
    record(duplicated, back.decide_keep_all())
    assert undecided_paths(duplicated, EXACT) == []


# Protected folders


def test_a_protected_file_is_the_one_to_keep(duplicated: Home) -> None:
    protecting = with_protected(duplicated, "copies")
    assert only_set(protecting, EXACT).keep.path == "scene2.png"
    scene0, scene1 = (set_of(protecting, f"copies/{seed}-half.png") for seed in range(2))
    assert scene1.keep.path == "copies/1-half.png"
    assert scene1.reason == "120 x 90, in the protected folder copies"
    measured = {member.path: (member.kind, member.distance is None) for member in scene1.other_members}
    assert measured == {"again/1-half.png": (EXACT, False), "scene1.png": (NEAR, False)}
    assert all(member.proposed for member in scene1.other_members)
    # Two files are protected: neither is proposed, and there is no measure between two duplicates.
    assert [member.path for member in scene0.members if member.protected] == [
        "copies/0-recompressed.jpg",
        "copies/0-half.png",
    ]
    half = next(member for member in scene0.members if member.path == "copies/0-half.png")
    assert (half.kind, half.distance, half.cosine, half.proposed) == (NEAR, None, None, False)
    record(protecting, [decision for one in (scene0, scene1) for decision in one.decide_proposal()])
    assert undecided_paths(protecting) == []
    assert removable_paths(protecting) == {"scene0.png", "scene1.png", "again/1-half.png"}


def test_an_original_is_kept_although_its_enlargement_has_more_pixels(home: Home) -> None:
    original = detailed_scene(5, (240, 180))
    put(home.images, "original.png", encode(original))
    put(home.images, "a.png", encode(original.resize((480, 360), Image.Resampling.BICUBIC)))
    put(home.images, "b.jpg", encode(original.resize((160, 120), Image.Resampling.BICUBIC), "JPEG", quality=90))
    refresh(home)
    review_set = only_set(home)
    assert review_set.keep.path == "original.png"
    assert {member.path for member in review_set.members if member.proposed} == {"a.png", "b.jpg"}
    assert review_set.reason == (
        "240 x 180, the original, not an enlargement to 480 x 360 pixels, which has no more detail"
    )
    put(home.images, "safe/c.png", encode(original.resize((480, 360), Image.Resampling.LANCZOS)))
    refresh(home)
    assert only_set(with_protected(home, "safe")).keep.path == "safe/c.png"
    assert only_set(home).keep.path == "original.png"


def test_a_set_of_protected_files_is_decided(duplicated: Home) -> None:
    assert read_review_queue(with_protected(duplicated, ".")).counts == {EXACT: 0, NEAR: 0, SIMILAR: 0}
    queue = read_review_queue(with_protected(duplicated, "copies,again"))
    assert queue.counts[EXACT] == 1
    assert all(review_set.keep.protected for review_set in queue.sets(NEAR))


@hypothesis_settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_queue_updated_from_the_previous_one_equals_one_made_from_scratch(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Sets of eight images, some with the same bytes, and similar pairs of the rest; decisions and undos."""
    images = [
        UsableImage(f"{'safe' if number == 3 else 'free'}/{number}", f"{number % 6}", 10, 4, 4) for number in range(10)
    ]
    sets = [
        DuplicateSet(0, [DuplicateRow(number, NEAR, 1, 0.99, 0.9) for number in (1, 2, 6)], NEAR),
        DuplicateSet(3, [DuplicateRow(4, NEAR, 1, 0.98, 0.9)], NEAR),
        DuplicateSet(5, [DuplicateRow(7, EXACT, 0, None, None)], EXACT),
    ]
    similar = np.array(list(combinations([0, 3, 5, 8, 9], 2)), np.int32)
    review_tables = ReviewTables(images, sets, similar, np.linspace(0.9, 0.8, len(similar)), 0, ("safe",))
    home = open_home(load_settings({"home": tmp_path_factory.mktemp("home"), "shards": 1}))
    batches: list[str] = []
    queue = None
    for _ in range(data.draw(st.integers(1, 8))):
        if batches and data.draw(st.booleans()):
            batches.append(undo(home, batches.pop(data.draw(st.integers(0, len(batches) - 1)))))
        else:
            files = data.draw(st.lists(st.sampled_from(review_tables.files), min_size=2, max_size=4, unique=True))
            decision = keep_all(files) if data.draw(st.booleans()) else keep_one(files[0], files[1:])
            batches.append(record(home, [decision]))
        decisions = read_decisions(home)
        queue, from_scratch = ReviewQueue(review_tables, decisions, queue), ReviewQueue(review_tables, decisions)
        assert queue.counts == from_scratch.counts
        for kind in (EXACT, NEAR, SIMILAR):
            assert list(queue.sets(kind)) == list(from_scratch.sets(kind))


def test_a_pair_comes_back_when_its_file_is_no_longer_removable(home: Home) -> None:
    """A third decision closes a circle, so nothing is removable: also for a file that this decision is not about."""
    images = [UsableImage(name, name, 10, 4, 4) for name in "abcd"]
    review_tables = ReviewTables(images, [], np.array([[1, 3]], np.int32), np.array([0.9]), 0, ())
    a, b, c, _ = review_tables.files
    queue = ReviewQueue(review_tables, read_decisions(home))
    counts = []
    for keep, duplicate in ((b, a), (c, b), (a, c)):
        record(home, [keep_one(keep, [duplicate])])
        queue = ReviewQueue(review_tables, read_decisions(home), queue)
        counts.append(queue.counts[SIMILAR])
    assert counts == [1, 0, 1]


@pytest.mark.usefixtures("settled")
def test_files_that_can_not_be_decoded_are_decided_about_like_others(home: Home) -> None:
    data = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(500)
    for name in ("a.heic", "b.heic"):
        put(home.images, name, data)
    refresh(home)
    review_set = only_set(home, EXACT)
    assert (paths(review_set), review_set.reason) == (["a.heic", "b.heic"], "not decoded, first path")
    record(home, review_set.decide_proposal())
    assert undecided_paths(home, EXACT) == []
    assert removable_paths(home) == {"b.heic"}
