"""The file of decisions: appended whole or not at all, read on from where it was, the last word in force."""

import csv
import io
import json
import multiprocessing
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from imgret_assets.domain.review import decision_log, decisions
from imgret_assets.domain.review.decision_log import (
    decisions_path,
    export_csv,
    export_json,
    history,
    record,
    standing,
    undo,
)
from imgret_assets.domain.review.decisions import (
    DUPLICATE,
    NOT_DUPLICATES,
    UNDO,
    Decisions,
    File,
    keep_all,
    keep_one,
    pair_key,
)
from imgret_assets.domain.storage import atomic_files
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.errors import DecisionError, DiskFullError, HomeError, LockTimeoutError, SettingError
from imgret_assets.settings import load_settings

A, B, C, D = (File(f"{name}.png", name * 64) for name in "abcd")
A2 = File("copy/a.png", A.sha256)


def lines(home: Home) -> list[dict[str, Any]]:
    """What the file says, as any program reads it."""
    return [json.loads(line) for line in decisions_path(home).read_text(encoding="utf-8").splitlines()]


def verdict(home: Home, a: File, b: File) -> str | None:
    found = standing(home).between(a, b)
    return found.verdict if found else None


def read_anew(home: Home) -> Decisions:
    """As another process would read it."""
    return decision_log._Reader(decisions_path(home)).load()[0]


# Writing and reading


def test_nothing_is_decided_at_first(home: Home) -> None:
    assert standing(home).events == []
    assert standing(home).between(A, B) is None
    assert history(home) == []
    assert not decisions_path(home).exists()


def test_a_line_says_all_there_is_to_know(home: Home) -> None:
    batch = record(home, [keep_one(B, [A])], by="  Änne ", reason="B is\nsharper")
    [line] = lines(home)
    at = line.pop("at")
    assert at.endswith("Z")
    assert line == {
        "version": 1,
        "id": f"{batch}-0",
        "batch": batch,
        "batch_events": 1,
        "set": 0,
        "by": "Änne",
        "verdict": DUPLICATE,
        "reason": "B is\nsharper",
        "sha_a": A.sha256,
        "sha_b": B.sha256,
        "keep": B.sha256,
        "keep_path": "b.png",
        "undoes": None,
        "path_a": "a.png",
        "path_b": "b.png",
    }
    assert "Änne" in decisions_path(home).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [None, "", "  "])
def test_without_a_name_it_is_the_user_of_the_computer(
    home: Home, monkeypatch: pytest.MonkeyPatch, name: str | None
) -> None:
    monkeypatch.setattr(decision_log.getpass, "getuser", lambda: "somebody")
    record(home, [keep_all([A, B])], by=name)
    assert standing(home).events[0].by == "somebody"


def test_a_user_without_a_name_is_a_number(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr(decision_log.getpass, "getuser", nobody)
    record(home, [keep_all([A, B])])
    assert standing(home).events[0].by == f"user {os.getuid()}"


def test_invalid_bytes_of_a_command_line_are_replaced(home: Home) -> None:
    record(home, [keep_all([A, B])], by="an\udcff", reason="\udcfe")
    assert read_anew(home).events[0].by == "an?"


def test_the_order_of_the_two_does_not_matter(home: Home) -> None:
    record(home, [keep_one(B, [A])])
    for pair in ((A, B), (B, A)):
        found = standing(home).between(*pair)
        assert found is not None
        assert found.kept_and_copy == (B, A)


def test_a_decision_survives_renames(home: Home) -> None:
    record(home, [keep_all([A, B])])
    assert verdict(home, replace(A, path="elsewhere/a.jpg"), replace(B, path="moved.png")) == NOT_DUPLICATES


def test_the_last_word_is_in_force(home: Home) -> None:
    record(home, [keep_all([A, B])])
    record(home, [keep_one(A, [B])])
    assert verdict(home, A, B) == DUPLICATE
    assert [entry.state for entry in history(home)] == ["in_force", "superseded"]


def test_every_two_of_a_set_that_is_kept_are_decided_by_a_line_for_each_but_one(home: Home) -> None:
    record(home, [keep_all([A, B, C, D])])
    assert len(lines(home)) == 3
    for a, b in ((A, B), (B, C), (B, D), (C, D)):
        assert verdict(home, a, b) == NOT_DUPLICATES
    assert standing(home).kept_together([B, C, D])
    assert len(list(standing(home).in_force())) == 3
    assert {entry.state for entry in history(home)} == {"in_force"}


def test_sets_decided_at_once_have_nothing_to_do_with_each_other(home: Home) -> None:
    batch = record(home, [keep_all([A, B]), keep_all([C, D])])
    assert verdict(home, A, B) == verdict(home, C, D) == NOT_DUPLICATES
    assert verdict(home, A, C) is verdict(home, B, C) is None
    assert not standing(home).kept_together([A, B, C])
    undo(home, batch)
    assert verdict(home, A, B) is verdict(home, C, D) is None


def test_copies_of_one_are_not_decided_among_themselves(home: Home) -> None:
    record(home, [keep_one(A, [B, C])])
    assert verdict(home, A, C) == DUPLICATE
    assert verdict(home, B, C) is None


def test_a_set_that_is_kept_later_replaces_what_was_said_of_two_of_it(home: Home) -> None:
    record(home, [keep_one(B, [C])])
    record(home, [keep_all([A, B, C])])
    assert verdict(home, B, C) == NOT_DUPLICATES
    assert [one.verdict for one in standing(home).in_force()] == [NOT_DUPLICATES] * 2
    record(home, [keep_one(B, [C])])
    assert verdict(home, B, C) == DUPLICATE
    assert [one.verdict for one in standing(home).in_force()] == [NOT_DUPLICATES] * 2 + [DUPLICATE]


# The same bytes at several paths


def test_of_the_same_bytes_it_is_decided_by_path(home: Home) -> None:
    record(home, [keep_one(A, [A2])])
    found = standing(home).between(A2, A)
    assert found is not None
    assert (found.keep, found.keep_path, found.kept_and_copy) == (A.sha256, "a.png", (A, A2))
    assert verdict(home, A, replace(A, path="third.png")) is None
    assert verdict(home, A2, B) is None
    assert len(set(map(tuple, (pair_key(A, A2), pair_key(A2, A), pair_key(A, B), pair_key(A2, B))))) == 2


def test_as_how_many_files_a_content_is_kept(home: Home) -> None:
    third = replace(A, path="third.png")
    record(home, [keep_all([A, A2, B])])
    assert (standing(home).kept_copies(A.sha256), standing(home).kept_copies(B.sha256)) == (2, 0)
    assert standing(home).kept_together([A, A2])
    assert not standing(home).kept_together([A, third])
    assert verdict(home, A2, third) is None
    record(home, [keep_one(A, [third])])
    assert standing(home).kept_copies(A.sha256) == 0


# Undo


def test_undo_brings_back_what_was_in_force_before(home: Home) -> None:
    record(home, [keep_all([A, B])])
    batch = record(home, [keep_one(A, [B])])
    taken_back = undo(home, batch, by="anna", reason="wrong one")
    assert verdict(home, A, B) == NOT_DUPLICATES
    assert [(one.decision.verdict, one.state) for one in history(home)] == [
        (UNDO, "in_force"),
        (DUPLICATE, "undone"),
        (NOT_DUPLICATES, "in_force"),
    ]
    last = lines(home)[-1]
    assert (last["verdict"], last["undoes"], last["by"], last["reason"]) == (UNDO, batch, "anna", "wrong one")
    assert last["sha_a"] is None
    undo(home, taken_back)
    assert verdict(home, A, B) == DUPLICATE
    assert [one.state for one in history(home)] == ["in_force", "undone", "in_force", "superseded"]


def test_an_event_s_id_stands_for_its_batch(home: Home) -> None:
    batch = record(home, [keep_all([A, B, C])])
    undo(home, f"{batch}-1")
    assert verdict(home, A, B) is None


def test_what_can_not_be_undone_is_said(home: Home) -> None:
    with pytest.raises(DecisionError, match="No decision has the id nonsense"):
        undo(home, "nonsense")
    batch = record(home, [keep_all([A, B])])
    undo(home, batch)
    with pytest.raises(DecisionError, match=f"{batch} is undone already"):
        undo(home, batch)
    assert len(lines(home)) == 2


# Wrong use


def test_nothing_to_decide_is_said(home: Home) -> None:
    with pytest.raises(DecisionError, match="nothing to decide"):
        record(home, [])
    with pytest.raises(DecisionError, match=r"a\.png alone"):
        keep_all([A, A])
    with pytest.raises(DecisionError, match=r"a\.png alone"):
        keep_one(A, [])
    assert not decisions_path(home).exists()


def test_protected_files_are_never_decided_away(home: Home) -> None:
    guarded = replace(home, settings=load_settings({"home": home.path, "protected": "originals, albums/2024/"}))
    kept, deep, beside = (File(path, B.sha256) for path in ("originals/b", "albums/2024/x/b", "originals2/b"))
    for copy in (kept, deep):
        with pytest.raises(DecisionError, match="protected folder"):
            record(guarded, [keep_one(A, [C, copy])])
    record(guarded, [keep_one(kept, [A]), keep_one(A, [beside]), keep_all([A, deep])])
    assert len(lines(home)) == 3


@pytest.mark.parametrize("folder", ["/originals", "a/../b", ".."])
def test_protected_folders_are_under_the_image_root(folder: str) -> None:
    with pytest.raises(SettingError, match="IMGRET_PROTECTED names"):
        load_settings({"protected": f"fine,{folder}"})


def test_protected_folders_are_tidied() -> None:
    assert load_settings({"protected": " a/ ,, ./b//c, a"}).protected == ("a", "b/c")
    assert load_settings({}).protected == ()
    assert decisions.is_protected("any/where.png", load_settings({"protected": "."}).protected)


# The file


def test_only_what_is_new_is_read(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(200):
        record(home, [keep_all([A, File(f"{number}.png", f"{number:064d}")])])
    reader = decision_log._Reader(decisions_path(home))
    reader.load()
    parsed: list[int] = []
    real = decision_log._Reader._parse

    def parse(self: Any, line: bytes, number: int) -> Any:
        parsed.append(number)
        return real(self, line, number)

    monkeypatch.setattr(decision_log._Reader, "_parse", parse)
    before = reader.load()[0]
    assert parsed == []
    record(home, [keep_all([B, C])])
    parsed.clear()
    after = reader.load()[0]
    assert parsed == [201]
    assert after.between(B, C) is not None
    assert before.between(B, C) is None
    assert before.stamp != after.stamp
    assert len(before.events) == 200


@pytest.mark.parametrize("cut", [1, 5, 200])
def test_a_torn_line_is_not_there_and_the_next_writer_mends_it(home: Home, cut: int) -> None:
    record(home, [keep_all([A, B])])
    whole = decisions_path(home).read_bytes()
    record(home, [keep_all([C, D])])
    torn = decisions_path(home).read_bytes()[:-cut]
    decisions_path(home).write_bytes(torn)
    assert verdict(home, A, B) == NOT_DUPLICATES
    assert verdict(home, C, D) is None
    record(home, [keep_one(A, [C])])
    assert decisions_path(home).read_bytes().startswith(whole)
    assert [line["verdict"] for line in lines(home)] == [NOT_DUPLICATES, DUPLICATE]
    assert read_anew(home).events == standing(home).events


def test_a_batch_counts_only_whole(home: Home) -> None:
    record(home, [keep_all([A, B, C])])
    first, _ = decisions_path(home).read_bytes().splitlines(keepends=True)
    decisions_path(home).write_bytes(first)
    assert standing(home).events == []
    record(home, [keep_all([C, D])])
    [line] = lines(home)
    assert line["path_a"] == "c.png"


def test_zeros_that_a_power_cut_left_are_cut_off(home: Home) -> None:
    record(home, [keep_all([A, B])])
    with decisions_path(home).open("ab") as file:
        file.write(bytes(4096))
    record(home, [keep_all([C, D])])
    assert len(lines(home)) == 2


def test_a_file_put_back_from_a_backup_is_read_anew(home: Home) -> None:
    record(home, [keep_all([A, B])])
    backup = decisions_path(home).read_bytes()
    record(home, [keep_all([C, D])])
    record(home, [keep_all([A, D])])
    assert verdict(home, A, D) == NOT_DUPLICATES
    other = decisions_path(home).with_name("other")
    other.write_bytes(backup)
    other.replace(decisions_path(home))
    assert verdict(home, A, B) == NOT_DUPLICATES
    assert verdict(home, A, D) is None
    decisions_path(home).unlink()
    assert standing(home).events == []


def test_a_file_edited_in_its_place_is_read_anew(home: Home) -> None:
    record(home, [keep_all([A, B])], by="anna")
    record(home, [keep_all([C, D])], by="anna")
    assert standing(home).events[-1].by == "anna"
    text = decisions_path(home).read_text(encoding="utf-8")
    decisions_path(home).write_text(text.replace('"anna"', '"berta"'), encoding="utf-8")
    assert {one.by for one in standing(home).events} == {"berta"}


DAMAGE = {
    "no JSON": b"what?\n",
    "no object": b"3\n",
    "no version": b"{}\n",
    "another version": b'{"version": 2}\n',
    "no verdict": b'{"version": 1, "id": "x"}\n',
    "unknown verdict": '"verdict": "perhaps"',
    "no content": '"sha_a": null',
    "no number of lines": '"batch_events": "1"',
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_line_is_named_and_nothing_is_written_after_it(home: Home, kind: str) -> None:
    record(home, [keep_all([A, B])])
    damage = DAMAGE[kind]
    if isinstance(damage, str):
        key = damage.partition(":")[0]
        line = lines(home)[0] | json.loads(f"{{{damage}}}")
        assert key.strip('"') in line
        damage = json.dumps(line).encode() + b"\n"
    with decisions_path(home).open("ab") as file:
        file.write(damage)
    before = decisions_path(home).read_bytes()
    for _ in range(2):
        with pytest.raises(HomeError, match=r"Line 2 of .*decisions\.jsonl can't be understood"):
            standing(home)
    with pytest.raises(HomeError, match="Line 2"):
        record(home, [keep_all([C, D])])
    assert decisions_path(home).read_bytes() == before


def test_a_line_lost_from_a_batch_is_damage(home: Home) -> None:
    record(home, [keep_all([A, B, C])])
    record(home, [keep_all([A, D])])
    first, _, last = decisions_path(home).read_bytes().splitlines(keepends=True)
    decisions_path(home).write_bytes(first + last)
    with pytest.raises(HomeError, match="lost lines"):
        read_anew(home)


def test_fields_of_a_later_imgret_do_no_harm(home: Home) -> None:
    record(home, [keep_all([A, B])])
    [line] = lines(home)
    decisions_path(home).write_text(json.dumps({**line, "mood": "fine"}) + "\n")
    assert verdict(home, A, B) == NOT_DUPLICATES


def test_a_full_disk_leaves_the_file_as_it_was(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    record(home, [keep_all([A, B])])
    before = decisions_path(home).read_bytes()

    def full(handle: int, data: Any) -> int:
        os.pwrite(handle, bytes(data[:7]), os.lseek(handle, 0, os.SEEK_CUR))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(decision_log.os, "write", full)
    with pytest.raises(DiskFullError, match=r"decisions\.jsonl"):
        record(home, [keep_all([C, D])])
    assert decisions_path(home).read_bytes() == before


def test_what_is_written_is_synced(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    folders: list[Path] = []
    real = os.fsync

    def fsync(handle: int) -> None:
        synced.append(os.fstat(handle).st_size)
        real(handle)

    monkeypatch.setattr(decision_log.os, "fsync", fsync)
    monkeypatch.setattr(atomic_files, "sync_folder", folders.append)
    for pair in ((A, B), (C, D)):
        record(home, [keep_all(pair)])
        assert synced[-1] == decisions_path(home).stat().st_size
    assert folders == [home.path]


def test_who_waits_too_long_is_told_for_whom(home: Home) -> None:
    from imgret_assets.domain.storage import locks

    hurried = replace(home, settings=replace(home.settings, lock_timeout_s=0.1))
    with (
        locks.hold(home.locks, ["decisions"], timeout_s=1, purpose="a test"),
        pytest.raises(LockTimeoutError, match="decisions is held by process"),
    ):
        record(hurried, [keep_all([A, B])])


def _write_many(folder: Path, writer: int, count: int) -> None:
    home = open_home(load_settings({"home": folder}))
    for number in range(count):
        files = [File(f"{writer}-{number}-{place}.png", f"{writer}{number:03d}{place}" * 8) for place in range(4)]
        record(home, [keep_all(files)], by=f"writer {writer}")


def test_writers_of_several_processes_and_threads_lose_nothing(home: Home) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_write_many, args=(home.path, number, 15)) for number in range(2)]
    threads = [threading.Thread(target=_write_many, args=(home.path, number, 15)) for number in range(2, 4)]
    for one in (*processes, *threads):
        one.start()
    seen = 0
    while any(one.is_alive() for one in (*processes, *threads)):
        count = len(standing(home).events)
        assert count >= seen
        assert count % 3 == 0
        seen = count
    for one in (*processes, *threads):
        one.join()
    assert [process.exitcode for process in processes] == [0, 0]
    found = standing(home).events
    assert len(found) == 4 * 15 * 3
    assert len({one.id for one in found}) == len(found)
    assert read_anew(home).events == found


# Export


def test_what_is_exported_can_be_read_elsewhere(home: Home) -> None:
    odd = File('a "quoted", name\nof two lines.png', "e" * 64)
    batch = record(home, [keep_one(A, [odd])], by="anna", reason="=1+1; because, so")
    undo(home, batch)
    said = json.loads(export_json(home))
    assert said["schema"] == 1
    rows = list(csv.DictReader(io.StringIO(export_csv(home), newline="")))
    assert [row["state"] for row in rows] == [row["state"] for row in said["decisions"]] == ["in_force", "undone"]
    assert rows[1]["path_b"] == said["decisions"][1]["path_b"] == odd.path
    assert rows[1]["reason"] == "=1+1; because, so"
    assert (rows[0]["undoes"], rows[0]["sha_a"]) == (batch, "")


# Whatever is decided and undone


class Deciding(RuleBasedStateMachine):
    """The file, read on and read anew, against a list of what holds that is gone through from the end."""

    batches = Bundle("batches")

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self._folder = tempfile.TemporaryDirectory()
        self.home = open_home(load_settings({"home": self._folder.name, "shards": 1}))
        self.files = [File(f"{number}.png", f"{number % 4}" * 64) for number in range(6)]
        # Batch -> what it says of pairs, in order; undone batches.
        self.said: dict[str, list[tuple[str, frozenset[File]]]] = {}
        self.undone: set[str] = set()
        self.undoes: dict[str, str] = {}

    def teardown(self) -> None:
        self._folder.cleanup()

    @initialize(target=batches)
    def nothing(self) -> Any:
        return multiple()

    @rule(target=batches, chosen=st.lists(st.integers(0, 5), min_size=2, max_size=5, unique=True), keep=st.booleans())
    def decide(self, chosen: list[int], keep: bool) -> str:
        files = [self.files[number] for number in chosen]
        batch = record(self.home, [keep_all(files) if keep else keep_one(files[0], files[1:])])
        self.said[batch] = (
            [(NOT_DUPLICATES, frozenset((a, b))) for a in files for b in files if a != b]
            if keep
            else [(DUPLICATE, frozenset((files[0], b))) for b in files[1:]]
        )
        return batch

    @rule(target=batches, batch=consumes(batches))
    def undo(self, batch: str) -> str:
        new = undo(self.home, batch)
        self.undoes[new] = batch
        target, gone = batch, True
        while True:
            (self.undone.add if gone else self.undone.discard)(target)
            if target not in self.undoes:
                return new
            target, gone = self.undoes[target], not gone

    @rule(junk=st.binary(min_size=1, max_size=20))
    def a_writer_is_killed(self, junk: bytes) -> None:
        with decisions_path(self.home).open("ab") as file:
            file.write(junk.replace(b"\n", b"").replace(b"\r", b"") or b"{")

    @invariant()
    def the_last_word_holds(self) -> None:
        read_on, anew = standing(self.home), read_anew(self.home)
        assert read_on.events == anew.events
        for a in self.files:
            for b in self.files:
                if a == b:
                    continue
                expected = None
                for batch, said in self.said.items():
                    if batch in self.undone:
                        continue
                    for word, pair in said:
                        same_contents = {one.sha256 for one in pair} == {a.sha256, b.sha256}
                        if a.sha256 == b.sha256:
                            same_contents = pair == {a, b}
                        if same_contents:
                            expected = word
                for one in (read_on, anew):
                    found = one.between(a, b)
                    assert (found.verdict if found else None) == expected


TestDeciding = Deciding.TestCase
TestDeciding.settings = hypothesis_settings(max_examples=25, stateful_step_count=12, deadline=None)
