"""The file of decisions: appended whole or not at all, read from where the last call ended, exported."""

import csv
import io
import json
import multiprocessing
import os
import shutil
import tempfile
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from imgret_assets.domain.review import decision_copies, decision_log
from imgret_assets.domain.review.decision_lines import digest
from imgret_assets.domain.review.decision_log import (
    DecisionReader,
    decisions_path,
    export_csv,
    export_json,
    incomplete_path,
    read_decisions,
    read_history,
    record,
    undo,
    verify_decisions,
)
from imgret_assets.domain.review.decisions import (
    DUPLICATE,
    NOT_DUPLICATES,
    UNDO,
    Decisions,
    File,
    keep_all,
    keep_one,
)
from imgret_assets.domain.storage import atomic_files, locks
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.errors import DecisionError, DiskFullError, HomeError, LockTimeoutError
from imgret_assets.settings import load_settings

A, B, C, D = (File(f"{name}.png", name * 64) for name in "abcd")


def lines(home: Home) -> list[dict[str, Any]]:
    """Return the lines of the file as any program parses them."""
    return [json.loads(line) for line in decisions_path(home).read_text(encoding="utf-8").splitlines()]


def verdict(home: Home, a: File, b: File) -> str | None:
    decision = read_decisions(home).decision_for(a, b)
    return decision.verdict if decision else None


def write_as_older_imgret(home: Home) -> None:
    """Replace the file by one without checks and copies."""
    rows = [{key: value for key, value in line.items() if key not in ("previous", "check")} for line in lines(home)]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    decisions_path(home).write_text(text, encoding="utf-8")
    shutil.rmtree(decision_copies.copies_folder(decisions_path(home)), ignore_errors=True)


def read_whole_file(home: Home) -> Decisions:
    """Read the decisions as another process does."""
    return DecisionReader(decisions_path(home)).read()[0]


# Recording and reading


def test_a_new_home_has_no_decisions(home: Home) -> None:
    assert read_decisions(home).events == []
    assert read_decisions(home).decision_for(A, B) is None
    assert read_history(home) == []
    assert not decisions_path(home).exists()


def test_a_line_has_all_fields(home: Home) -> None:
    batch = record(home, [keep_one(B, [A])], by="  Änne ", reason="B is\nsharper")
    [line] = lines(home)
    at = line.pop("at")
    assert at.endswith("Z")
    # The first line of a file follows nothing.
    assert line.pop("previous") == digest(b"")
    assert line.pop("check") == digest(decisions_path(home).read_bytes().partition(b', "check"')[0])
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
def test_without_a_name_the_user_of_the_operating_system_decides(
    home: Home, monkeypatch: pytest.MonkeyPatch, name: str | None
) -> None:
    monkeypatch.setattr(decision_log.getpass, "getuser", lambda: "somebody")
    record(home, [keep_all([A, B])], by=name)
    assert read_decisions(home).events[0].by == "somebody"


def test_a_user_without_a_name_is_a_number(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def getuser() -> str:
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr(decision_log.getpass, "getuser", getuser)
    record(home, [keep_all([A, B])])
    assert read_decisions(home).events[0].by == f"user {os.getuid()}"


def test_invalid_bytes_of_a_command_line_are_replaced(home: Home) -> None:
    record(home, [keep_all([A, B])], by="an\udcff", reason="\udcfe")
    assert read_whole_file(home).events[0].by == "an?"


def test_an_undo_is_an_event_of_its_own(home: Home) -> None:
    batch = record(home, [keep_one(A, [B])])
    undo(home, batch, by="anna", reason="wrong one")
    line = lines(home)[-1]
    assert (line["verdict"], line["undoes"], line["by"], line["reason"]) == (UNDO, batch, "anna", "wrong one")
    assert line["sha_a"] is None


def test_an_unknown_or_undone_batch_can_not_be_undone(home: Home) -> None:
    with pytest.raises(DecisionError, match="No decision has the id nonsense"):
        undo(home, "nonsense")
    batch = record(home, [keep_all([A, B])])
    undo(home, batch)
    with pytest.raises(DecisionError, match=f"{batch} is undone already"):
        undo(home, batch)
    assert len(lines(home)) == 2


def test_an_empty_batch_is_refused(home: Home) -> None:
    with pytest.raises(DecisionError, match="nothing to decide"):
        record(home, [])
    assert not decisions_path(home).exists()


def test_a_protected_file_is_never_recorded_as_not_needed(home: Home) -> None:
    protecting = replace(home, settings=load_settings({"home": home.path, "protected": "originals, albums/2024/"}))
    inside, deep, outside = (File(path, B.sha256) for path in ("originals/b", "albums/2024/x/b", "originals2/b"))
    for file in (inside, deep):
        with pytest.raises(DecisionError, match="protected folder"):
            record(protecting, [keep_one(A, [C, file])])
    record(protecting, [keep_one(inside, [A]), keep_one(A, [outside]), keep_all([A, deep])])
    assert len(lines(home)) == 3


def test_history_is_newest_first_and_can_be_cut(home: Home) -> None:
    for file in (B, C, D):
        record(home, [keep_all([A, file])])
    paths = [entry.decision.path_b for entry in read_history(home)]
    assert paths == ["d.png", "c.png", "b.png"]
    assert [entry.decision.path_b for entry in read_history(home, 1, 1)] == ["c.png"]


# The file


def test_only_new_lines_are_parsed(home: Home) -> None:
    """The old lines are made unreadable in place, so a reader that parsed them again would fail."""
    for number in range(200):
        record(home, [keep_all([A, File(f"{number}.png", f"{number:064d}")])])
    reader = DecisionReader(decisions_path(home))
    before = reader.read()[0]
    with decisions_path(home).open("r+b") as file:
        file.write(b"damaged" * 1000)
    record(home, [keep_all([B, C])])
    after = reader.read()[0]
    assert after.decision_for(B, C) is not None
    assert before.decision_for(B, C) is None
    assert before.stamp != after.stamp
    assert (len(before.events), len(after.events)) == (200, 201)
    with pytest.raises(HomeError, match="Line 1 "):
        read_whole_file(home)


def kill_writer_after(home: Home, length: int, *files: File) -> bytes:
    """Leave the first `length` bytes of a batch, which its killed writer has not copied; return these bytes."""
    path, copy = decisions_path(home), decision_copies.list_copies(decisions_path(home))[0]
    old, old_copy = path.read_bytes(), copy.read_bytes()
    record(home, [keep_all(files)])
    batch = path.read_bytes()[len(old) :][:length]
    path.write_bytes(old + batch)
    copy.write_bytes(old_copy)
    return batch


@pytest.mark.parametrize("length", [1, 200, -5, -3])
def test_an_incomplete_line_is_ignored_and_the_next_writer_moves_it(
    home: Home, length: int, caplog: pytest.LogCaptureFixture
) -> None:
    record(home, [keep_all([A, B])])
    complete = decisions_path(home).read_bytes()
    incomplete = kill_writer_after(home, length, C, D)
    assert verdict(home, A, B) == NOT_DUPLICATES
    assert verdict(home, C, D) is None
    with pytest.raises(HomeError, match=r"What follows line 1 of .*decisions\.jsonl is no whole decision"):
        verify_decisions(home)
    assert not caplog.records
    record(home, [keep_one(A, [C])])
    assert decisions_path(home).read_bytes().startswith(complete)
    assert [line["verdict"] for line in lines(home)] == [NOT_DUPLICATES, DUPLICATE]
    assert read_whole_file(home).events == read_decisions(home).events
    assert incomplete_path(decisions_path(home)).read_bytes() == incomplete + b"\n"
    [warning] = caplog.messages
    assert "moved to" in warning
    assert verify_decisions(home).startswith("2 verified; copies of ")


def test_an_incomplete_batch_is_ignored(home: Home) -> None:
    record(home, [keep_all([A, D])])
    record(home, [keep_all([A, B, C])])
    old, first, _ = decisions_path(home).read_bytes().splitlines(keepends=True)
    decision_copies.list_copies(decisions_path(home))[0].write_bytes(old)
    decisions_path(home).write_bytes(old + first)
    assert len(read_decisions(home).events) == 1
    record(home, [keep_all([C, D])])
    assert [line["path_a"] for line in lines(home)] == ["a.png", "c.png"]
    assert incomplete_path(decisions_path(home)).read_bytes() == first


@pytest.mark.parametrize("junk", [b"", b"\x0b", b"J", bytes(4096)])
def test_a_whole_line_without_its_line_feed_counts(home: Home, junk: bytes) -> None:
    """The line feed is missing, flipped, or zeros of a power cut are in its place."""
    record(home, [keep_all([A, B])])
    complete = decisions_path(home).read_bytes()
    kill_writer_after(home, -1, C, D)
    with decisions_path(home).open("ab") as file:
        file.write(junk)
    assert verdict(home, C, D) == NOT_DUPLICATES
    record(home, [keep_all([A, D])])
    assert decisions_path(home).read_bytes().startswith(complete)
    assert [line["path_b"] for line in lines(home)] == ["b.png", "d.png", "d.png"]
    assert read_whole_file(home).events == read_decisions(home).events
    assert incomplete_path(decisions_path(home)).exists() == bool(junk)
    assert verify_decisions(home).startswith("3 verified; ")


def test_zeros_that_a_power_cut_left_are_cut_off(home: Home) -> None:
    record(home, [keep_all([A, B])])
    with decisions_path(home).open("ab") as file:
        file.write(bytes(4096))
    record(home, [keep_all([C, D])])
    assert len(lines(home)) == 2


def test_a_file_restored_from_a_backup_is_read_from_its_start(home: Home) -> None:
    record(home, [keep_all([A, B])])
    backup = decisions_path(home).read_bytes()
    record(home, [keep_all([C, D])])
    record(home, [keep_all([A, D])])
    assert verdict(home, A, D) == NOT_DUPLICATES
    restored = decisions_path(home).with_name("restored")
    restored.write_bytes(backup)
    restored.replace(decisions_path(home))
    with pytest.raises(HomeError, match=r"ends after line 1, but its copy .* has 3 lines.*remove the copy"):
        read_decisions(home)
    shutil.rmtree(decision_copies.copies_folder(decisions_path(home)))
    assert verdict(home, A, B) == NOT_DUPLICATES
    assert verdict(home, A, D) is None
    decisions_path(home).unlink()
    assert read_decisions(home).events == []


def test_a_file_edited_in_place_is_read_from_its_start(home: Home) -> None:
    record(home, [keep_all([A, B])], by="anna")
    record(home, [keep_all([C, D])], by="anna")
    write_as_older_imgret(home)
    assert read_decisions(home).events[-1].by == "anna"
    text = decisions_path(home).read_text(encoding="utf-8")
    decisions_path(home).write_text(text.replace('"anna"', '"berta"'), encoding="utf-8")
    assert {event.by for event in read_decisions(home).events} == {"berta"}


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
        with pytest.raises(HomeError, match=r"Line 2 of .*decisions\.jsonl is damaged .*restore its copy of .*1 lines"):
            read_decisions(home)
    with pytest.raises(HomeError, match="Line 2"):
        record(home, [keep_all([C, D])])
    assert decisions_path(home).read_bytes() == before


def test_a_line_missing_from_a_batch_is_damage(home: Home) -> None:
    record(home, [keep_all([A, B, C])])
    record(home, [keep_all([A, D])])
    write_as_older_imgret(home)
    first, _, last = decisions_path(home).read_bytes().splitlines(keepends=True)
    decisions_path(home).write_bytes(first + last)
    with pytest.raises(HomeError, match=r"lines of batch .* are missing"):
        read_whole_file(home)


def test_fields_of_a_later_release_are_ignored(home: Home) -> None:
    record(home, [keep_all([A, B])])
    write_as_older_imgret(home)
    [line] = lines(home)
    decisions_path(home).write_text(json.dumps({**line, "mood": "fine"}) + "\n")
    assert verdict(home, A, B) == NOT_DUPLICATES


def test_a_full_disk_leaves_the_file_unchanged(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    record(home, [keep_all([A, B])])
    before = decisions_path(home).read_bytes()

    def write(handle: int, data: Any) -> int:
        os.pwrite(handle, bytes(data[:7]), os.lseek(handle, 0, os.SEEK_CUR))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(decision_log.os, "write", write)
    with pytest.raises(DiskFullError, match=r"decisions\.jsonl"):
        record(home, [keep_all([C, D])])
    assert decisions_path(home).read_bytes() == before


def test_every_batch_is_synced(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    synced_bytes: list[int] = []
    synced_folders: list[Path] = []
    os_fsync = os.fsync

    def fsync(handle: int) -> None:
        synced_bytes.append(os.fstat(handle).st_size)
        os_fsync(handle)

    monkeypatch.setattr(decision_log.os, "fsync", fsync)
    monkeypatch.setattr(atomic_files, "sync_folder", synced_folders.append)
    for pair in ((A, B), (C, D)):
        record(home, [keep_all(pair)])
        assert synced_bytes[-1] == decisions_path(home).stat().st_size
    copies = decision_copies.copies_folder(decisions_path(home))
    assert synced_folders == [home.path, copies]


def test_a_writer_that_waits_too_long_names_the_holder_of_the_lock(home: Home) -> None:
    impatient = replace(home, settings=replace(home.settings, lock_timeout_s=0.1))
    with (
        locks.hold(home.locks, ["decisions"], timeout_s=1, purpose="a test"),
        pytest.raises(LockTimeoutError, match="decisions is held by process"),
    ):
        record(impatient, [keep_all([A, B])])


def record_many(folder: Path, writer: int, count: int) -> None:
    home = open_home(load_settings({"home": folder}))
    for number in range(count):
        files = [File(f"{writer}-{number}-{place}.png", f"{writer}{number:03d}{place}" * 8) for place in range(4)]
        record(home, [keep_all(files)], by=f"writer {writer}")


def test_writers_in_several_processes_and_threads_lose_nothing(home: Home) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=record_many, args=(home.path, number, 15)) for number in range(2)]
    threads = [threading.Thread(target=record_many, args=(home.path, number, 15)) for number in range(2, 4)]
    writers = (*processes, *threads)
    for writer in writers:
        writer.start()
    previous = 0
    while any(writer.is_alive() for writer in writers):
        count = len(read_decisions(home).events)
        assert count >= previous
        assert count % 3 == 0
        previous = count
    for writer in writers:
        writer.join()
    assert [process.exitcode for process in processes] == [0, 0]
    events = read_decisions(home).events
    assert len(events) == 4 * 15 * 3
    assert len({event.id for event in events}) == len(events)
    assert read_whole_file(home).events == events


# Export


def test_exports_can_be_parsed_by_other_programs(home: Home) -> None:
    odd = File('a "quoted", name\nof two lines.png', "e" * 64)
    batch = record(home, [keep_one(A, [odd])], by="anna", reason="=1+1; because, so")
    undo(home, batch)
    document = json.loads(export_json(home))
    assert document["schema"] == 1
    rows = list(csv.DictReader(io.StringIO(export_csv(home), newline="")))
    assert [row["state"] for row in rows] == [row["state"] for row in document["decisions"]] == ["in_force", "undone"]
    assert rows[1]["path_b"] == document["decisions"][1]["path_b"] == odd.path
    assert rows[1]["reason"] == "=1+1; because, so"
    assert (rows[0]["undoes"], rows[0]["sha_a"]) == (batch, "")


class RandomDecisions(RuleBasedStateMachine):
    """Any sequence of decisions, undos and killed writers, against a list that is searched from its end."""

    batches = Bundle("batches")

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.home = open_home(load_settings({"home": self._folder.name, "shards": 1}))
        self.files = [File(f"{number}.png", f"{number % 4}" * 64) for number in range(6)]
        # The verdict of each pair by batch, in order; the batches that are undone; the batch that each undo undoes.
        self.verdicts: dict[str, list[tuple[str, frozenset[File]]]] = {}
        self.undone: set[str] = set()
        self.undoes: dict[str, str] = {}

    def teardown(self) -> None:
        self._folder.cleanup()

    @initialize(target=batches)
    def start(self) -> Any:
        return multiple()

    @rule(target=batches, chosen=st.lists(st.integers(0, 5), min_size=2, max_size=5, unique=True), keep=st.booleans())
    def decide(self, chosen: list[int], keep: bool) -> str:
        files = [self.files[number] for number in chosen]
        batch = record(self.home, [keep_all(files) if keep else keep_one(files[0], files[1:])])
        self.verdicts[batch] = (
            [(NOT_DUPLICATES, frozenset((a, b))) for a in files for b in files if a != b]
            if keep
            else [(DUPLICATE, frozenset((files[0], b))) for b in files[1:]]
        )
        return batch

    @rule(target=batches, batch=consumes(batches))
    def undo(self, batch: str) -> str:
        undo_batch = undo(self.home, batch)
        self.undoes[undo_batch] = batch
        target, is_undone = batch, True
        while True:
            (self.undone.add if is_undone else self.undone.discard)(target)
            if target not in self.undoes:
                return undo_batch
            target, is_undone = self.undoes[target], not is_undone

    @rule(junk=st.binary(min_size=1, max_size=20))
    def kill_a_writer(self, junk: bytes) -> None:
        with decisions_path(self.home).open("ab") as file:
            file.write(junk.replace(b"\n", b"").replace(b"\r", b"") or b"{")

    @invariant()
    def the_last_decision_is_in_force(self) -> None:
        incremental, whole = read_decisions(self.home), read_whole_file(self.home)
        assert incremental.events == whole.events
        for a in self.files:
            for b in self.files:
                if a == b:
                    continue
                for decisions in (incremental, whole):
                    decision = decisions.decision_for(a, b)
                    assert (decision.verdict if decision else None) == self._expected_verdict(a, b)

    def _expected_verdict(self, a: File, b: File) -> str | None:
        expected = None
        for batch, verdicts in self.verdicts.items():
            if batch in self.undone:
                continue
            for pair_verdict, pair in verdicts:
                same_contents = {file.sha256 for file in pair} == {a.sha256, b.sha256}
                if pair == {a, b} if a.sha256 == b.sha256 else same_contents:
                    expected = pair_verdict
        return expected


TestRandomDecisions = RandomDecisions.TestCase
TestRandomDecisions.settings = hypothesis_settings(max_examples=25, stateful_step_count=12, deadline=None)
