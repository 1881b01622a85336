"""The record of a home: its version, fields of other versions, damage."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.domain.storage.home_record import (
    VERSION,
    HomeRecord,
    read_record,
    record_path,
    shard_keys,
    write_record,
)
from imgret_assets.errors import HomeError
from imgret_assets.settings import Settings


def write_file(folder: Path, **values: object) -> None:
    folder.mkdir(exist_ok=True)
    record_path(folder).write_text(json.dumps(values), encoding="utf-8")


def read_file(folder: Path) -> dict[str, object]:
    return json.loads(record_path(folder).read_text(encoding="utf-8"))


@pytest.mark.parametrize(("count", "first", "last"), [(1, "00", "00"), (16, "00", "0f"), (256, "00", "ff")])
def test_shard_keys(count: int, first: str, last: str) -> None:
    keys = shard_keys(count)
    assert (len(keys), keys[0], keys[-1]) == (count, first, last)
    assert keys == sorted(set(keys))


def test_a_record_is_read_back_as_written(tmp_path: Path) -> None:
    record = HomeRecord("x", 4, root="/images", threshold=0.0, unknown_fields={"later": [1, {"a": None}]})
    write_record(tmp_path, record)
    assert read_record(tmp_path) == record
    assert hash(record)


def test_the_file_is_plain_json_with_its_version(home: Home) -> None:
    home.update(root="/Bilder/Zürich")
    values = read_file(home.path)
    assert (values["version"], values["root"], values["shards"]) == (VERSION, "/Bilder/Zürich", 4)


def test_a_folder_without_a_record_is_no_home(tmp_path: Path) -> None:
    assert read_record(tmp_path) is None
    (tmp_path / "file").write_text("")
    assert read_record(tmp_path / "file") is None


def test_a_home_without_a_version_opens_and_is_not_written(settings: Settings) -> None:
    write_file(settings.home, id="x", shards=4, model="resnet50")
    text = record_path(settings.home).read_text()
    assert open_home(settings).record == HomeRecord("x", 4, model="resnet50")
    assert record_path(settings.home).read_text() == text
    open_home(settings).update(threshold=0.7)
    assert read_file(settings.home)["version"] == VERSION


def test_an_unknown_field_of_this_version_survives_an_update(settings: Settings) -> None:
    write_file(settings.home, version=VERSION, id="x", shards=4, cameras={"a": [1, 2]}, unknown_fields="a name of ours")
    opened = open_home(settings)
    assert opened.record.shards == 4
    opened.update(threshold=0.7)
    values = read_file(settings.home)
    assert (values["cameras"], values["unknown_fields"]) == ({"a": [1, 2]}, "a name of ours")
    assert (values["threshold"], values["id"]) == (0.7, "x")


def test_a_newer_version_is_refused_with_the_remedy_and_left_alone(settings: Settings) -> None:
    write_file(settings.home, version=VERSION + 1, identifier="x")
    text = record_path(settings.home).read_text()
    message = rf"home.json has version {VERSION + 1}.*Expected: version {VERSION} or older.*update imgret"
    with pytest.raises(HomeError, match=message):
        open_home(settings)
    assert record_path(settings.home).read_text() == text


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", "null", '"x"', '{"id": "x"}', '{"version": "x", "id": "x", "shards": 4}']
    + [f'{{"id": "x", "shards": {value}}}' for value in ("0", "-3", '"many"', "4.5", "true", "1025", "null")]
    + [f'{{"id": "x", "shards": 4, {field}}}' for field in ('"threshold": "0.8"', '"root": 3', '"model": ["x"]')]
    + ['{"id": 3, "shards": 4}', '{"id": "x", "shards": 4, "centre": {}}'],
)
def test_a_damaged_record_is_an_error_with_the_remedy(settings: Settings, text: str) -> None:
    settings.home.mkdir()
    record_path(settings.home).write_text(text)
    with pytest.raises(HomeError, match=r"home.json is not a home's record .*restore it from a backup"):
        open_home(settings)
    assert record_path(settings.home).read_text() == text


def test_no_changed_bit_of_the_file_is_taken_for_the_record(tmp_path: Path) -> None:
    record = HomeRecord("home", 16, root="/images", model="resnet50", threshold=0.85, centre="a1" * 32)
    write_record(tmp_path, record)
    path = record_path(tmp_path)
    content = path.read_bytes()
    named = 0
    for position in range(len(content)):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[position] ^= 1 << bit
            path.write_bytes(damaged)
            try:
                found = read_record(tmp_path)
            except HomeError:
                named += 1
            else:
                # Of a space between two fields, or of the name of the check itself.
                assert found is not None
                assert replace(found, unknown_fields={}) == record
    assert named > 7 * len(content)


def test_a_changed_digit_is_named_with_the_remedy(tmp_path: Path) -> None:
    write_record(tmp_path, HomeRecord("home", 16, threshold=0.85))
    path = record_path(tmp_path)
    path.write_text(path.read_text().replace("0.85", "0.35"))
    with pytest.raises(HomeError, match=r'home.json .*its check does not fit .*backup.*remove the line "check"'):
        read_record(tmp_path)
    path.write_text("\n".join(line for line in path.read_text().splitlines() if '"check"' not in line))
    assert read_record(tmp_path) == HomeRecord("home", 16, threshold=0.35)


def test_a_check_that_an_earlier_imgret_has_copied_does_not_count(tmp_path: Path) -> None:
    """It keeps fields it does not know, behind its own, and changes the others."""
    write_record(tmp_path, HomeRecord("home", 16, threshold=0.85))
    values = read_file(tmp_path)
    check = values.pop("check")
    write_file(tmp_path, **(values | {"threshold": 0.9}), check=check)
    assert read_record(tmp_path) == HomeRecord("home", 16, threshold=0.9)
