"""The decisions that an answer about a set means."""

import pytest

from imgret_assets.domain.review.decision_log import record
from imgret_assets.domain.review.decisions import Decision, File, keep_all, keep_one
from imgret_assets.domain.review.review_sets import Member, ReviewSet
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import DecisionError

REMOVAL = Decision("batch-0", "batch", 1, 0, "2026-01-01", "anna", "duplicate")


def member(path: str, **fields: object) -> Member:
    return Member(File(path, path[0]), 4, 4, 10, **fields)  # type: ignore[arg-type]


def review_set(*members: Member) -> ReviewSet:
    return ReviewSet("near", members, "4 x 4, most pixels")


def test_accepting_the_proposal_keeps_what_is_not_proposed() -> None:
    proposed = review_set(member("a"), member("b", proposed=True, freed_bytes=10), member("c", kept=True))
    assert proposed.decide_proposal() == [
        keep_one(File("a", "a"), [File("b", "b")]),
        keep_all([File("a", "a"), File("c", "c")]),
    ]
    assert proposed.proposed_bytes == 10


def test_keeping_all_is_one_decision() -> None:
    members = review_set(member("a"), member("b", proposed=True))
    assert members.decide_keep_all() == [keep_all([File("a", "a"), File("b", "b")])]


def test_another_file_than_the_proposed_can_be_kept() -> None:
    assert review_set(member("a"), member("b")).decide_keep(["b"]) == [keep_one(File("b", "b"), [File("a", "a")])]


def test_protected_files_are_kept_whatever_is_chosen() -> None:
    members = review_set(member("a"), member("b", protected=True), member("c"))
    assert members.decide_keep(["a"]) == [
        keep_one(File("a", "a"), [File("c", "c")]),
        keep_all([File("a", "a"), File("b", "b")]),
    ]


def test_a_file_with_a_decided_removal_is_not_decided_again() -> None:
    members = review_set(member("a"), member("b", removal=REMOVAL), member("c", proposed=True))
    assert members.decide_proposal() == [keep_one(File("a", "a"), [File("c", "c")])]


def test_wrong_choices_are_refused() -> None:
    members = review_set(member("a"), member("b"))
    with pytest.raises(DecisionError, match="No file of the set would be kept"):
        members.decide_keep([])
    with pytest.raises(DecisionError, match="x is not in the set of a"):
        members.decide_keep(["a", "x"])


def test_the_weakest_cosine_is_of_the_measured_members() -> None:
    assert review_set(member("a"), member("b", cosine=0.9), member("c"), member("d", cosine=0.7)).weakest_cosine == 0.7
    assert review_set(member("a"), member("b")).weakest_cosine is None


def test_decisions_of_a_set_can_be_recorded(home: Home) -> None:
    proposed = review_set(member("a"), member("b", proposed=True), member("c", kept=True))
    assert record(home, proposed.decide_proposal())
