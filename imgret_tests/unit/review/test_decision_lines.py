"""The lines of the file of decisions: whatever happens to a file, no whole decision is lost or changed silently."""

import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from imgret_assets.domain.review.decision_lines import DamagedLineError, LineParser, digest, encode_batch
from imgret_assets.domain.review.decisions import NOT_DUPLICATES, Decision


def batch_of(name: str, size: int) -> list[Decision]:
    """Return the events of a batch with `size` lines."""
    return [
        Decision(
            id=f"{name}-{place}",
            batch=name,
            batch_events=size,
            set=0,
            at="2026-11-26T12:00:00.000Z",
            by="Zoë",
            verdict=NOT_DUPLICATES,
            reason='a "quoted", reason\nof \\ two lines',
            sha_a=f"{place:064x}",
            sha_b=f"{place + 1:064x}",
            path_a="a.png",
            path_b=f"{place}.png",
        )
        for place in range(size)
    ]


def file_of(*batches: list[Decision], after: bytes = b"") -> bytes:
    """Return the bytes of a file: `after`, and the batches written to it one after the other."""
    parser, data = LineParser(), after
    parser.parse(data)
    for batch in batches:
        lines = encode_batch(batch, parser.end)
        parser.parse(lines)
        data += lines
    return data


def older_lines(*batches: list[Decision]) -> bytes:
    """Return the lines that an older imgret has written, which have no checks."""
    rows = ({"version": 1, **event.as_row} for batch in batches for event in batch)
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def parsed(data: bytes) -> list[Decision]:
    return LineParser().parse(data)


BATCHES = [batch_of("aa", 1), batch_of("bb", 2), batch_of("cc", 1)]
EVENTS = [event for batch in BATCHES for event in batch]
CHECKED = file_of(*BATCHES)
MIXED = file_of(*BATCHES[2:], after=older_lines(*BATCHES[:2]))


def test_lines_are_read_as_they_were_written() -> None:
    assert parsed(CHECKED) == EVENTS
    assert parsed(MIXED) == EVENTS
    assert parsed(older_lines(*BATCHES)) == EVENTS


def test_the_checks_can_be_recomputed_by_another_program() -> None:
    previous = digest(b"")
    for line in CHECKED.splitlines():
        values = json.loads(line)
        body = line.decode()[: line.decode().index(', "check": ')]
        assert values["previous"] == previous
        assert values["check"] == digest(body.encode())
        previous = values["check"]


def test_the_first_line_with_a_check_covers_all_before_it() -> None:
    older = older_lines(*BATCHES[:2])
    first = json.loads(MIXED[len(older) :].splitlines()[0])
    assert first["previous"] == digest(older)
    changed = older.replace(b'"a.png"', b'"b.png"', 1)
    assert len(parsed(changed)) == 3
    with pytest.raises(DamagedLineError, match="line 4: it does not follow what is before it"):
        parsed(changed + MIXED[len(older) :])


@pytest.mark.parametrize("data", [CHECKED, MIXED], ids=["checked", "mixed"])
def test_cut_anywhere_the_whole_decisions_before_the_cut_are_read(data: bytes) -> None:
    ends = [(data.index(batch[-1].id.encode()), batch) for batch in BATCHES]
    ends = [(data.index(b"\n", position), batch) for position, batch in ends]
    for length in range(len(data)):
        whole = [event for end, batch in ends if end <= length for event in batch]
        parser = LineParser()
        assert parser.parse(data[:length]) == whole
        # What is appended then is read with it, and nothing is lost.
        end = parser.end
        appended = data[: end.position] + encode_batch(batch_of("new", 2), end)
        assert parsed(appended) == whole + batch_of("new", 2)


@pytest.mark.parametrize("data", [CHECKED, MIXED], ids=["checked", "mixed"])
def test_read_in_two_parts_it_is_the_same(data: bytes) -> None:
    whole = LineParser()
    whole.parse(data)
    for length in range(len(data)):
        parser = LineParser()
        events = parser.parse(data[:length])
        events += parser.parse(data[parser.end.position :])
        assert events == EVENTS
        assert parser.end == whole.end


def damaged_files() -> Iterator[bytes]:
    """Yield the file with every bit flipped in turn, and with lines removed, repeated and swapped."""
    for position in range(len(CHECKED)):
        for bit in range(8):
            flipped = bytearray(CHECKED)
            flipped[position] ^= 1 << bit
            yield bytes(flipped)
    lines = CHECKED.splitlines(keepends=True)
    for number in range(len(lines)):
        yield b"".join(lines[: number + 1] + lines[number:])
        for other in range(number):
            swapped = list(lines)
            swapped[number], swapped[other] = swapped[other], swapped[number]
            yield b"".join(swapped)
        if number + 1 < len(lines):
            yield b"".join(lines[:number] + lines[number + 1 :])
            yield b"".join(lines[:number] + lines[number + 1 :] + [lines[number]])


def test_no_damage_changes_a_decision_silently() -> None:
    """The damage is named, or it is at the end: a flipped last line feed is healed, as the line is whole."""
    tried = 0
    for data in damaged_files():
        tried += 1
        try:
            assert parsed(data) == EVENTS, data
            assert data[:-1] == CHECKED[:-1], data
        except DamagedLineError:
            continue
    assert tried > 8 * len(CHECKED)


@pytest.mark.parametrize("number", range(4))
def test_a_repeated_line_of_an_older_imgret_is_named(number: int) -> None:
    lines = older_lines(*BATCHES).splitlines(keepends=True)
    with pytest.raises(DamagedLineError, match=rf"line {number + 2}: .*there twice"):
        parsed(b"".join(lines[: number + 1] + lines[number:]))


@pytest.mark.parametrize("number", range(3))
def test_a_changed_number_of_lines_is_named_at_the_next_batch(number: int) -> None:
    lines = older_lines(*BATCHES, batch_of("ee", 1)).splitlines(keepends=True)
    lines[number] = lines[number].replace(b'"batch_events": ', b'"batch_events": 9')
    with pytest.raises(DamagedLineError, match="are missing"):
        parsed(b"".join(lines))


def test_a_line_without_a_check_after_one_with_a_check_is_named() -> None:
    with pytest.raises(DamagedLineError, match="line 5: its check is missing"):
        parsed(CHECKED + older_lines(batch_of("ee", 1)))


@hypothesis_settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_two_damages_are_named_or_leave_a_beginning(data: st.DataObject) -> None:
    """Whatever two bytes are replaced, removed or added, what is read is a beginning of what was recorded."""
    content = bytearray(CHECKED)
    for _ in range(2):
        position = data.draw(st.integers(0, len(content) - 1))
        kind = data.draw(st.sampled_from(["replace", "remove", "add"]))
        content[position : position + (kind != "add")] = b"" if kind == "remove" else data.draw(st.binary(max_size=3))
    try:
        events = parsed(bytes(content))
    except DamagedLineError:
        return
    assert events == EVENTS[: len(events)]
