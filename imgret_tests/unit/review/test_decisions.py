"""Which decision is in force for a pair: the last one, whatever the order of the two and wherever the files moved."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from imgret_assets.domain.review.decision_log import read_decisions, read_history, record, undo
from imgret_assets.domain.review.decisions import (
    DUPLICATE,
    NOT_DUPLICATES,
    UNDO,
    File,
    is_protected,
    keep_all,
    keep_one,
    pair_key,
)
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import DecisionError, SettingError
from imgret_assets.settings import load_settings

A, B, C, D = (File(f"{name}.png", name * 64) for name in "abcd")
# Another file with the bytes of A.
A2 = File("copy/a.png", A.sha256)


def verdict(home: Home, a: File, b: File) -> str | None:
    decision = read_decisions(home).decision_for(a, b)
    return decision.verdict if decision else None


def test_the_order_of_the_two_files_does_not_matter(home: Home) -> None:
    record(home, [keep_one(B, [A])])
    for pair in ((A, B), (B, A)):
        decision = read_decisions(home).decision_for(*pair)
        assert decision is not None
        assert decision.kept_and_duplicate == (B, A)


def test_a_decision_survives_renames(home: Home) -> None:
    record(home, [keep_all([A, B])])
    assert verdict(home, replace(A, path="elsewhere/a.jpg"), replace(B, path="moved.png")) == NOT_DUPLICATES


def test_the_last_decision_is_in_force(home: Home) -> None:
    record(home, [keep_all([A, B])])
    record(home, [keep_one(A, [B])])
    assert verdict(home, A, B) == DUPLICATE
    assert [entry.state for entry in read_history(home)] == ["in_force", "superseded"]


def test_a_set_to_keep_whole_decides_every_pair_of_it(home: Home) -> None:
    record(home, [keep_all([A, B, C, D])])
    decisions = read_decisions(home)
    assert len(decisions.events) == 3
    for a, b in ((A, B), (B, C), (B, D), (C, D)):
        assert verdict(home, a, b) == NOT_DUPLICATES
    assert decisions.kept_together([B, C, D])
    assert len(list(decisions.in_force())) == 3
    assert {entry.state for entry in read_history(home)} == {"in_force"}


def test_sets_of_one_batch_are_independent(home: Home) -> None:
    batch = record(home, [keep_all([A, B]), keep_all([C, D])])
    assert verdict(home, A, B) == verdict(home, C, D) == NOT_DUPLICATES
    assert verdict(home, A, C) is verdict(home, B, C) is None
    assert not read_decisions(home).kept_together([A, B, C])
    undo(home, batch)
    assert verdict(home, A, B) is verdict(home, C, D) is None


def test_duplicates_of_one_file_are_not_decided_among_themselves(home: Home) -> None:
    record(home, [keep_one(A, [B, C])])
    assert verdict(home, A, C) == DUPLICATE
    assert verdict(home, B, C) is None


def test_a_later_set_to_keep_whole_supersedes_the_decision_about_two_of_it(home: Home) -> None:
    record(home, [keep_one(B, [C])])
    record(home, [keep_all([A, B, C])])
    assert verdict(home, B, C) == NOT_DUPLICATES
    assert [decision.verdict for decision in read_decisions(home).in_force()] == [NOT_DUPLICATES] * 2
    record(home, [keep_one(B, [C])])
    assert verdict(home, B, C) == DUPLICATE
    assert [decision.verdict for decision in read_decisions(home).in_force()] == [NOT_DUPLICATES] * 2 + [DUPLICATE]


def test_a_snapshot_states_which_contents_have_changed_since_an_earlier_one(home: Home) -> None:
    first = read_decisions(home)
    batch = record(home, [keep_all([A, B])])
    second = read_decisions(home)
    record(home, [keep_one(C, [D])])
    third = read_decisions(home)
    assert second.contents_changed_since(first) == {A.sha256, B.sha256}
    assert third.contents_changed_since(second) == {C.sha256, D.sha256}
    assert third.contents_changed_since(third) == frozenset()
    undo(home, batch)
    assert read_decisions(home).contents_changed_since(third) == {A.sha256, B.sha256}
    assert second.contents_changed_since(third) is None
    assert [decisions.concerns(A.sha256) for decisions in (first, second, third)] == [False, True, True]
    assert not read_decisions(home).concerns(A.sha256)


# Several files with the same bytes


def test_files_with_the_same_bytes_are_decided_by_path(home: Home) -> None:
    record(home, [keep_one(A, [A2])])
    decision = read_decisions(home).decision_for(A2, A)
    assert decision is not None
    assert (decision.keep, decision.keep_path, decision.kept_and_duplicate) == (A.sha256, "a.png", (A, A2))
    assert verdict(home, A, replace(A, path="third.png")) is None
    assert verdict(home, A2, B) is None


def test_the_key_of_a_pair_has_paths_only_if_the_bytes_are_the_same() -> None:
    assert pair_key(A, A2) == pair_key(A2, A) != pair_key(A, replace(A, path="third.png"))
    assert pair_key(A, B) == pair_key(B, A2) == (A.sha256, B.sha256)


def test_a_set_to_keep_whole_states_how_many_files_of_a_content_are_kept(home: Home) -> None:
    third = replace(A, path="third.png")
    record(home, [keep_all([A, A2, B])])
    decisions = read_decisions(home)
    assert (decisions.kept_file_count(A.sha256), decisions.kept_file_count(B.sha256)) == (2, 0)
    assert decisions.kept_together([A, A2])
    assert not decisions.kept_together([A, third])
    assert verdict(home, A2, third) is None
    record(home, [keep_one(A, [third])])
    assert read_decisions(home).kept_file_count(A.sha256) == 0


# Undo


def test_undo_restores_what_was_in_force_before(home: Home) -> None:
    record(home, [keep_all([A, B])])
    batch = record(home, [keep_one(A, [B])])
    undo_batch = undo(home, batch)
    assert verdict(home, A, B) == NOT_DUPLICATES
    assert [(entry.decision.verdict, entry.state) for entry in read_history(home)] == [
        (UNDO, "in_force"),
        (DUPLICATE, "undone"),
        (NOT_DUPLICATES, "in_force"),
    ]
    undo(home, undo_batch)
    assert verdict(home, A, B) == DUPLICATE
    assert [entry.state for entry in read_history(home)] == ["in_force", "undone", "in_force", "superseded"]


def test_the_id_of_an_event_stands_for_its_batch(home: Home) -> None:
    batch = record(home, [keep_all([A, B, C])])
    assert len(read_decisions(home).events_of_batch(f"{batch}-1")) == 2
    undo(home, f"{batch}-1")
    assert verdict(home, A, B) is None
    assert read_decisions(home).is_undone(batch)


@pytest.mark.parametrize("decide", [lambda: keep_all([A, A]), lambda: keep_one(A, [])])
def test_one_file_alone_can_not_be_decided_about(decide: Callable[[], object]) -> None:
    with pytest.raises(DecisionError, match=r"a\.png alone"):
        decide()


# Protected folders


@pytest.mark.parametrize("folder", ["/originals", "a/../b", ".."])
def test_protected_folders_must_be_under_the_image_root(folder: str) -> None:
    with pytest.raises(SettingError, match="IMGRET_PROTECTED names"):
        load_settings({"protected": f"fine,{folder}"})


def test_protected_folders_are_normalised() -> None:
    assert load_settings({"protected": " a/ ,, ./b//c, a"}).protected == ("a", "b/c")
    assert load_settings({}).protected == ()


def test_a_file_is_protected_at_any_depth_of_a_folder() -> None:
    folders = load_settings({"protected": "originals, albums/2024"}).protected
    assert [is_protected(path, folders) for path in ("originals/a", "albums/2024/x/a")] == [True, True]
    assert [is_protected(path, folders) for path in ("originals2/a", "albums/a", "a")] == [False, False, False]
    assert is_protected("any/where.png", load_settings({"protected": "."}).protected)
