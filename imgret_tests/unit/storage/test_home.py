import json
from dataclasses import replace
from pathlib import Path

import pytest

from imgret_assets.domain.storage import home_record
from imgret_assets.domain.storage.home import Home, open_home, shard_count
from imgret_assets.domain.storage.home_record import HomeRecord, read_record, record_path, shard_keys
from imgret_assets.errors import HomeError, SettingError
from imgret_assets.settings import Settings
from imgret_tests.support.processes import processes

OPEN = """
from imgret_assets.domain.storage.home import open_home
from imgret_assets.settings import load_settings
settings = load_settings({"home": sys.argv[1]})
say("ready")
wait()
home = open_home(settings)
say(f"{home.record.id} {home.record.shards}")
"""


def test_a_fresh_home_gets_an_id_and_keeps_it(settings: Settings) -> None:
    first = open_home(settings)
    assert len(first.record.id) == 32
    assert open_home(settings).record == first.record
    assert first.record == HomeRecord(id=first.record.id, shards=4)


def test_two_homes_have_two_ids(settings: Settings, tmp_path: Path) -> None:
    other = open_home(replace(settings, home=tmp_path / "other"))
    assert other.record.id != open_home(settings).record.id


def test_eight_processes_opening_a_fresh_home_at_once_agree(tmp_path: Path) -> None:
    with processes(8, OPEN, [tmp_path / "home"]) as started:
        assert [process.hear() for process in started] == ["ready"] * 8
        for process in started:
            process.go()
        said = {process.hear() for process in started}
    assert len(said) == 1
    assert said == {f"{read_record(tmp_path / 'home').id} 16"}  # type: ignore[union-attr]


def test_the_number_of_shards_is_recorded_at_first_use(settings: Settings) -> None:
    open_home(settings)
    later = replace(settings, shards=None)
    assert shard_count(later) == 4
    assert open_home(later).shards == ["00", "01", "02", "03"]


def test_another_number_of_shards_is_an_error_that_says_how(settings: Settings) -> None:
    open_home(settings)
    with pytest.raises(SettingError, match=r"IMGRET_SHARDS is 8.*made with 4 shards.*`imgret reshard 8`"):
        open_home(replace(settings, shards=8))


def test_a_home_made_meanwhile_with_another_number_of_shards_is_noticed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_home(settings)
    answers = iter([None, None])
    monkeypatch.setattr(home_record, "read_record", lambda folder: next(answers, None) or read_record(folder))
    with pytest.raises(SettingError, match="made with 4 shards"):
        open_home(replace(settings, shards=8))


def test_asking_for_the_number_of_shards_makes_no_home(settings: Settings) -> None:
    assert shard_count(replace(settings, shards=None)) == 16
    assert shard_count(settings) == 4
    assert not settings.home.exists()


@pytest.mark.parametrize(("count", "first", "last"), [(1, "00", "00"), (16, "00", "0f"), (256, "00", "ff")])
def test_shard_keys(count: int, first: str, last: str) -> None:
    keys = shard_keys(count)
    assert (len(keys), keys[0], keys[-1]) == (count, first, last)
    assert keys == sorted(set(keys))


def test_what_is_set_wins_over_what_is_recorded_which_wins_over_the_default(settings: Settings) -> None:
    unset = replace(settings, images=None)
    home = open_home(unset)
    assert (home.images, home.model, home.threshold) == (home.path / "samples", "resnet50", 0.8)
    home = home.update(root="/pictures", model="timm:x", threshold=0.0)
    assert (home.images, home.model, home.threshold) == (Path("/pictures"), "timm:x", 0.0)
    chosen = replace(unset, images=Path("/others"), model="timm:y", threshold=0.5)
    home = open_home(chosen)
    assert (home.images, home.model, home.threshold) == (Path("/others"), "timm:y", 0.5)


def test_recorded_weights_count_only_for_their_model(settings: Settings) -> None:
    open_home(settings).update(model="timm:x", weights="/w.pth")
    assert open_home(settings).weights == Path("/w.pth")
    assert open_home(replace(settings, model="timm:x")).weights == Path("/w.pth")
    assert open_home(replace(settings, model="resnet50")).weights is None
    assert open_home(replace(settings, weights=Path("/v.pth"))).weights == Path("/v.pth")


def test_updates_are_kept_and_the_same_again_writes_nothing(home: Home) -> None:
    updated = home.update(root="/a", threshold=0.7)
    assert read_record(home.path) == updated.record
    written = record_path(home.path).stat()
    assert updated.update(root="/a").record == updated.record
    assert record_path(home.path).stat().st_mtime_ns == written.st_mtime_ns
    assert record_path(home.path).stat().st_ino == written.st_ino


def test_an_update_keeps_what_another_process_recorded_meanwhile(home: Home) -> None:
    home.update(model="timm:x")
    updated = home.update(threshold=0.7)
    assert (updated.record.model, updated.record.threshold) == ("timm:x", 0.7)


def test_what_counts_is_the_record_as_it_is_now(home: Home) -> None:
    """A long-lived process must not take its own old reading for the present state."""
    mine = home.update(root="/a")
    home.update(root="/b")
    assert mine.update(root="/a").record.root == "/a"
    assert read_record(home.path) == replace(mine.record, root="/a")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"id": "x", "shards": 4, "made_by_a_later_version": 1}'])
def test_a_record_that_is_none_is_an_error_with_the_remedy(settings: Settings, text: str) -> None:
    settings.home.mkdir()
    record_path(settings.home).write_text(text)
    with pytest.raises(HomeError, match=r"home.json is not a home's record .*restore it from a backup"):
        open_home(settings)
    assert record_path(settings.home).read_text() == text


def test_a_home_that_can_not_be_made_is_an_error(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HomeError, match=r"can't be made .*set IMGRET_HOME to a folder"):
        open_home(replace(settings, home=tmp_path / "file" / "home"))


def test_the_record_is_plain_json(home: Home) -> None:
    home.update(root="/Bilder/Zürich")
    said = json.loads(record_path(home.path).read_text(encoding="utf-8"))
    assert said["root"] == "/Bilder/Zürich"
    assert said["shards"] == 4
