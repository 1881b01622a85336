"""Files that decisions make removable: never the last file of an image, never one that has changed."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from imgret_assets.domain.duplicates.duplicate_search import EXACT, NEAR
from imgret_assets.domain.duplicates.usable_images import UsableImage, group_by_content, load_files
from imgret_assets.domain.review.decision_log import read_decisions, record, undo
from imgret_assets.domain.review.decisions import (
    DUPLICATE,
    NOT_DUPLICATES,
    Decisions,
    File,
    SetDecision,
    keep_all,
    keep_one,
)
from imgret_assets.domain.review.queue import read_review_queue
from imgret_assets.domain.review.removals import (
    find_library_file,
    find_removable_duplicates,
    find_removals,
    list_removals,
)
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.errors import TableError
from imgret_assets.settings import load_settings
from imgret_tests.support.scenes import encode, scene
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


def removable(home: Home) -> dict[str, str]:
    """Return the file kept instead of each removable file."""
    return {removal.path: removal.keep for removal in list_removals(home).files}


def accept_proposals(home: Home) -> None:
    for review_set in list(read_review_queue(home).sets(NEAR)):
        record(home, review_set.decide_proposal())


def test_an_accepted_proposal_makes_its_files_removable(duplicated: Home) -> None:
    accept_proposals(duplicated)
    assert removable(duplicated) == {
        "copies/0-half.png": "scene0.png",
        "copies/0-recompressed.jpg": "scene0.png",
        "copies/1-half.png": "scene1.png",
        "again/1-half.png": "scene1.png",
    }


def test_keeping_all_files_removes_nothing(duplicated: Home) -> None:
    sets = list(read_review_queue(duplicated).sets(NEAR))
    record(duplicated, [decision for review_set in sets for decision in review_set.decide_keep_all()])
    assert removable(duplicated) == {}


@pytest.mark.parametrize("chosen", ["copies/1-half.png", "again/1-half.png"])
def test_another_file_than_the_proposed_can_be_kept(duplicated: Home, chosen: str) -> None:
    review_set = set_of(duplicated, chosen)
    record(duplicated, review_set.decide_keep([chosen]))
    assert read_review_queue(duplicated).find(chosen) is None
    assert set(removable(duplicated)) == {*paths(review_set)} - {chosen}


def test_several_files_can_be_kept(duplicated: Home) -> None:
    record(duplicated, set_of(duplicated, "scene0.png").decide_keep(["scene0.png", "copies/0-half.png"]))
    assert read_review_queue(duplicated).find("scene0.png") is None
    [removal] = list_removals(duplicated).files
    assert (removal.path, removal.keep) == ("copies/0-recompressed.jpg", "scene0.png")
    assert removal.bytes == duplicated.images.local(removal.path).stat().st_size


def test_the_last_decision_counts_and_undo_takes_it_back(duplicated: Home) -> None:
    record(duplicated, only_set(duplicated, EXACT).decide_proposal())
    assert [decision.verdict for decision in read_decisions(duplicated).in_force()] == [DUPLICATE]
    assert removable(duplicated) == {"again/scene2.png": "scene2.png"}
    both = [find_library_file(duplicated, path) for path in ("scene2.png", "again/scene2.png")]
    batch = record(duplicated, [keep_all(both)])
    assert [decision.verdict for decision in read_decisions(duplicated).in_force()] == [NOT_DUPLICATES]
    assert removable(duplicated) == {}
    undo(duplicated, batch)
    assert removable(duplicated) == {"again/scene2.png": "scene2.png"}


def test_only_the_decided_file_of_several_with_the_same_bytes_is_removable(duplicated: Home) -> None:
    record(duplicated, only_set(duplicated, EXACT).decide_keep(["again/scene2.png"]))
    assert removable(duplicated) == {"scene2.png": "again/scene2.png"}
    duplicated.images.local("again/scene2.png").rename(duplicated.images / "moved.png")
    refresh(duplicated)
    # The bytes still exist under another name, and the same file is not needed.
    assert removable(duplicated) == {"scene2.png": "moved.png"}
    assert undecided_paths(duplicated, EXACT) == []
    duplicated.images.local("moved.png").unlink()
    refresh(duplicated)
    assert removable(duplicated) == {}
    duplicated.images.local("scene2.png").rename(duplicated.images / "last.png")
    put(duplicated.images, "new.png", encode(scene(2)))
    refresh(duplicated)
    assert removable(duplicated) == {}
    assert len(undecided_paths(duplicated, EXACT)) == 1


def test_a_file_that_is_protected_later_is_no_longer_removable(duplicated: Home) -> None:
    accept_proposals(duplicated)
    assert len(removable(duplicated)) == 4
    protecting = with_protected(duplicated, "copies")
    assert set(removable(protecting)) == {"again/1-half.png"}
    assert undecided_paths(protecting) == []


def test_files_that_have_changed_since_the_last_run_are_left_out(duplicated: Home) -> None:
    accept_proposals(duplicated)
    put(duplicated.images, "copies/0-half.png", encode(scene(33)))
    duplicated.images.local("scene1.png").unlink()
    removals = list_removals(duplicated)
    assert [removal.path for removal in removals.files] == ["copies/0-recompressed.jpg"]
    assert removals.bytes == removals.files[0].bytes
    changed = {removal.path for removal in removals.changed}
    assert changed == {"copies/0-half.png", "copies/1-half.png", "again/1-half.png"}


def test_a_file_with_a_time_beyond_64_bits_is_removable(duplicated: Home) -> None:
    for path in ("again/scene2.png", "scene2.png"):
        os.utime(duplicated.images / path, ns=(0, 12_000_000_000 * 10**9))
    refresh(duplicated)
    record(duplicated, only_set(duplicated, EXACT).decide_proposal())
    assert removable(duplicated) == {"again/scene2.png": "scene2.png"}


def test_a_file_outside_the_library_can_not_be_decided_about(duplicated: Home) -> None:
    with pytest.raises(TableError, match=r"nowhere\.png is not among the images"):
        find_library_file(duplicated, "nowhere.png")


# Links and hard links


def test_a_file_is_not_removable_for_a_link_to_it(home: Home) -> None:
    put(home.images, "z/real.png", encode(scene(1)))
    home.images.local("a.png").symlink_to("z/real.png")
    os.link(home.images / "z/real.png", home.images / "hard.png")
    put(home.images, "copy.png", encode(scene(1)))
    refresh(home)
    real, link, hard, copy = (find_library_file(home, path) for path in ("z/real.png", "a.png", "hard.png", "copy.png"))
    record(home, [keep_one(link, [real, hard, copy])])
    assert removable(home) == {}
    record(home, [keep_one(link, [real]), keep_all([hard, copy, link])])
    # Another name of the file stays: that frees nothing.
    [removal] = list_removals(home).files
    assert (removal.path, removal.keep, removal.bytes) == ("z/real.png", "copy.png", 0)
    record(home, [keep_one(copy, [real, hard])])
    removals = list_removals(home)
    assert {removal.path: (removal.keep, removal.bytes) for removal in removals.files} == {
        "hard.png": ("copy.png", 0),
        "z/real.png": ("copy.png", copy_size := home.images.local("copy.png").stat().st_size),
    }
    assert removals.bytes == copy_size


def test_a_link_in_a_protected_folder_protects_its_file(home: Home) -> None:
    put(home.images, "large.png", encode(scene(1)))
    small = put_near_duplicates(home, 1, "half.png")[0]
    home.images.local("safe").mkdir()
    home.images.local("safe/small.png").symlink_to(f"../{small}")
    refresh(home)
    batch = record(home, [keep_one(find_library_file(home, "large.png"), [find_library_file(home, small)])])
    # Without the protection, the link becomes useless with its file.
    assert removable(home) == {small: "large.png", "safe/small.png": "large.png"}
    protecting = with_protected(home, "safe")
    assert removable(protecting) == {}
    undo(home, batch)
    review_set = set_of(protecting, small)
    assert (review_set.keep.path, review_set.keep.protected) == (small, True)
    assert review_set.reason == "120 x 90, a link in a protected folder leads to it"


def test_a_file_kept_that_became_a_link_since_the_run_keeps_nothing(home: Home) -> None:
    put(home.images, "a.png", encode(scene(1)))
    put(home.images, "b.png", encode(scene(1)))
    refresh(home)
    record(home, only_set(home, EXACT).decide_proposal())
    assert removable(home) == {"b.png": "a.png"}
    mtime_ns = home.images.local("a.png").stat().st_mtime_ns
    os.utime(home.images / "b.png", ns=(mtime_ns, mtime_ns))
    refresh(home)
    assert removable(home) == {"b.png": "a.png"}
    home.images.local("a.png").unlink()
    home.images.local("a.png").symlink_to("b.png")
    assert removable(home) == {}
    # Nor does it while the link leads to a hard link of the file that was listed.
    home.images.local("a.png").unlink()
    put(home.images, "a.png", encode(scene(1)))
    refresh(home)
    assert removable(home) == {"b.png": "a.png"}
    home.images.local("a.png").rename(home.images / ".a.png")
    home.images.local("a.png").symlink_to(".a.png")
    assert [removal.path for removal in list_removals(home).changed] == ["b.png"]


# Duplicates that may be removed beside


def test_duplicates_that_are_protected_or_kept_may_not_be_removed(duplicated: Home) -> None:
    images = load_files(duplicated)
    rows = tables.read(tables.duplicates_path(duplicated.warehouse)).to_pylist()

    def allowed(protected: Sequence[str] = ()) -> dict[str, int]:
        return find_removable_duplicates(rows, images, read_decisions(duplicated), protected)

    assert allowed() == {row["path_from"]: row["bytes"] for row in rows}
    assert set(allowed(["copies"])) == {"again/1-half.png", "again/scene2.png"}
    near = [find_library_file(duplicated, path) for path in ("scene0.png", "copies/0-half.png")]
    batch = record(duplicated, [keep_all(near)])
    assert set(allowed()) == {row["path_from"] for row in rows} - {"copies/0-half.png"}
    undo(duplicated, batch)
    # The file that the table keeps is one that a decision removes.
    record(duplicated, [keep_one(near[1], [near[0]])])
    assert set(removable(duplicated)) == {"scene0.png"}
    assert set(allowed()) == {"copies/1-half.png", "again/1-half.png", "again/scene2.png"}


# Chains and circles of decisions


def images_of(contents: str, files_each: int = 1) -> list[UsableImage]:
    """Return images of the contents `a` to `z`, each in some files."""
    return [
        UsableImage(f"{content}{number}", content, 10, 4, 4) for content in contents for number in range(files_each)
    ]


def decisions_of(folder: Path, *set_decisions: SetDecision) -> Decisions:
    home = open_home(load_settings({"home": folder / "decided", "shards": 1}))
    for decision in set_decisions:
        record(home, [decision])
    return read_decisions(home)


def replaces(duplicate: str, keep: str) -> SetDecision:
    return keep_one(File(keep, keep[0]), [File(duplicate, duplicate[0])])


def removals_of(folder: Path, images: Sequence[UsableImage], *set_decisions: SetDecision) -> dict[str, str]:
    removals = find_removals(group_by_content(images), decisions_of(folder, *set_decisions))
    return {path: removal.keep for path, removal in removals.items()}


def test_a_file_kept_for_another_may_itself_be_removable(tmp_path: Path) -> None:
    chain = [replaces("a0", "b0"), replaces("b0", "c0")]
    assert removals_of(tmp_path, images_of("abc"), *chain) == {"a0": "c0", "b0": "c0"}


def test_decisions_in_a_circle_remove_nothing(tmp_path: Path) -> None:
    circle = [replaces("a0", "b0"), replaces("b0", "c0"), replaces("c0", "a0")]
    assert removals_of(tmp_path, images_of("abcd"), *circle, replaces("d0", "a0")) == {}
    broken = removals_of(tmp_path, images_of("abcd"), *circle, replaces("a0", "d0"))
    assert broken == {"a0": "d0", "c0": "d0", "b0": "d0"}


def test_all_files_of_a_content_are_removable(tmp_path: Path) -> None:
    images = images_of("ab", files_each=2)
    assert removals_of(tmp_path, images, replaces("a0", "b1")) == {"a0": "b1", "a1": "b1"}


def test_a_file_that_no_longer_exists_keeps_nothing(tmp_path: Path) -> None:
    decisions = [replaces("a0", "b0"), replaces("c0", "a0")]
    assert removals_of(tmp_path, images_of("ac"), *decisions) == {"c0": "a0"}


@hypothesis_settings(max_examples=80, deadline=None)
@given(
    decided=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7), st.booleans()), max_size=14),
    present=st.sets(st.integers(0, 7)),
    protected=st.sets(st.integers(0, 7)),
)
def test_no_image_is_ever_lost(
    tmp_path_factory: pytest.TempPathFactory,
    decided: list[tuple[int, int, bool]],
    present: set[int],
    protected: set[int],
) -> None:
    """Whatever is decided: each removable file leaves another that stays, reached by decisions in force."""
    files = [File(f"{'safe' if number in protected else 'free'}/{number}", f"{number % 5}") for number in range(8)]
    images = [UsableImage(files[number].path, files[number].sha256, 1, 1, 1) for number in sorted(present)]
    set_decisions = [
        keep_all([files[a], files[b]]) if keep else keep_one(files[a], [files[b]]) for a, b, keep in decided if a != b
    ]
    decisions = decisions_of(tmp_path_factory.mktemp("home"), *set_decisions)
    removals = find_removals(group_by_content(images), decisions, ["safe"])
    staying = {image.path: image.sha256 for image in images if image.path not in removals}
    if images:
        assert staying
    for path, removal in removals.items():
        assert path.startswith("free/")
        assert removal.keep in staying
        assert removal.decision.verdict == DUPLICATE
        assert removal.decision.kept_and_duplicate[1].sha256 == removal.file.sha256
        # Going from the removed content to the contents kept instead, the named file is reached.
        reached, waiting = set[str](), [removal.file.sha256]
        while waiting:
            content = waiting.pop()
            if content not in reached:
                reached.add(content)
                waiting += [
                    kept.sha256
                    for decision in decisions.in_force()
                    if decision.verdict == DUPLICATE
                    for kept, duplicate in [decision.kept_and_duplicate]
                    if duplicate.sha256 == content
                ]
        assert staying[removal.keep] in reached
