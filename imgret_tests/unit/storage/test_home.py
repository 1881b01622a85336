"""A home: opening it, its shards, the settings in force, updates of its record, its locks."""

from dataclasses import replace
from pathlib import Path

import pytest

from imgret_assets.domain.storage import home as home_module
from imgret_assets.domain.storage import locks
from imgret_assets.domain.storage.home import Home, open_home, shard_count
from imgret_assets.domain.storage.home_record import HomeRecord, read_record, record_path
from imgret_assets.errors import HomeError, LockTimeoutError, SettingError
from imgret_assets.image_roots import ImageRoots
from imgret_assets.settings import Settings, available_model
from imgret_tests.support.processes import Process, processes

OPEN = """
from imgret_assets.domain.storage.home import open_home
from imgret_assets.settings import load_settings
settings = load_settings({"home": sys.argv[1]})
say("ready")
wait()
home = open_home(settings)
say(f"{home.record.id} {home.record.shards}")
"""
HOLD = """
from imgret_assets.domain.storage.home import open_home
from imgret_assets.settings import load_settings
with open_home(load_settings({"home": sys.argv[1]})).hold(sys.argv[2:], "a purpose"):
    say("holds")
    wait()
"""


def test_a_new_home_gets_an_id_and_keeps_it(settings: Settings) -> None:
    first = open_home(settings)
    assert len(first.record.id) == 32
    assert open_home(settings).record == first.record
    assert first.record == HomeRecord(id=first.record.id, shards=4)


def test_two_homes_have_two_ids(settings: Settings, tmp_path: Path) -> None:
    second = open_home(replace(settings, home=tmp_path / "second"))
    assert second.record.id != open_home(settings).record.id


def test_eight_processes_that_open_a_new_home_at_once_agree(tmp_path: Path) -> None:
    with processes(8, OPEN, [tmp_path / "home"]) as started:
        assert [process.hear() for process in started] == ["ready"] * 8
        for process in started:
            process.go()
        opened = {process.hear() for process in started}
    record = read_record(tmp_path / "home")
    assert record is not None
    assert opened == {f"{record.id} 16"}


def test_the_number_of_shards_is_recorded_at_first_use(settings: Settings) -> None:
    open_home(settings)
    later = replace(settings, shards=None)
    assert shard_count(later) == 4
    assert open_home(later).shards == ["00", "01", "02", "03"]


def test_another_number_of_shards_is_an_error_with_the_remedy(settings: Settings) -> None:
    open_home(settings)
    with pytest.raises(SettingError, match=r"IMGRET_SHARDS is 8.*made with 4 shards.*`imgret reshard 8`"):
        open_home(replace(settings, shards=8))


def test_a_home_that_another_process_makes_first_with_other_shards_is_an_error(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_home(settings)
    # The first two readings come before the other process has made the home, the third one after.
    readings = iter([None, None])
    monkeypatch.setattr(home_module, "read_record", lambda folder: next(readings, read_record(folder)))
    with pytest.raises(SettingError, match="made with 4 shards"):
        open_home(replace(settings, shards=8))
    assert next(readings, "none left") == "none left"


def test_shard_count_makes_no_home(settings: Settings) -> None:
    assert shard_count(replace(settings, shards=None)) == 16
    assert shard_count(settings) == 4
    assert not settings.home.exists()


def test_a_setting_wins_over_the_record_which_wins_over_the_default(settings: Settings) -> None:
    unset = replace(settings, images=None)
    home = open_home(unset)
    assert (home.images.folder, home.model, home.threshold) == (home.path / "samples", available_model(unset), 0.8)
    home = home.update(root="/recorded", model="timm:x", threshold=0.0)
    assert (home.images.folder, home.model, home.threshold) == (Path("/recorded"), "timm:x", 0.0)
    chosen = replace(unset, images=ImageRoots.plain(Path("/chosen")), model="timm:y", threshold=0.5)
    home = open_home(chosen)
    assert (home.images.folder, home.model, home.threshold) == (Path("/chosen"), "timm:y", 0.5)


def test_recorded_weights_count_only_for_their_model(settings: Settings) -> None:
    open_home(settings).update(model="timm:x", weights="/w.pth")
    assert open_home(settings).weights == Path("/w.pth")
    assert open_home(replace(settings, model="timm:x")).weights == Path("/w.pth")
    assert open_home(replace(settings, model="resnet50")).weights is None
    assert open_home(replace(settings, weights=Path("/v.pth"))).weights == Path("/v.pth")


def test_an_update_is_kept_and_equal_values_write_nothing(home: Home) -> None:
    updated = home.update(root="/a", threshold=0.7)
    assert read_record(home.path) == updated.record
    written = record_path(home.path).stat()
    assert updated.update(root="/a").record == updated.record
    assert record_path(home.path).stat().st_mtime_ns == written.st_mtime_ns
    assert record_path(home.path).stat().st_ino == written.st_ino


def test_an_update_keeps_what_another_process_has_recorded(home: Home) -> None:
    home.update(model="timm:x")
    updated = home.update(threshold=0.7)
    assert (updated.record.model, updated.record.threshold) == ("timm:x", 0.7)


def test_an_update_compares_with_the_record_on_disk(home: Home) -> None:
    """A long-lived process must not take its own old reading for the present state."""
    first = home.update(root="/a")
    home.update(root="/b")
    assert first.update(root="/a").record.root == "/a"
    assert read_record(home.path) == replace(first.record, root="/a")


def test_an_update_of_an_unknown_field_is_a_mistake(home: Home) -> None:
    with pytest.raises(TypeError, match="treshold"):
        home.update(treshold=0.7)


def test_a_home_that_cannot_be_made_is_an_error_with_the_remedy(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HomeError, match=r"can't be made .*set IMGRET_HOME to a folder"):
        open_home(replace(settings, home=tmp_path / "file" / "home"))


def test_locks_are_held_for_the_block_and_waited_for_as_long_as_set(home: Home) -> None:
    patient = replace(home, settings=replace(home.settings, lock_timeout_s=0.2))
    with Process(HOLD, [home.path, "graph", "shard-00"]) as holder:
        assert holder.hear() == "holds"
        assert sorted(file.stem for file in home.locks.glob("*.lock")) == ["graph", "home", "shard-00"]
        with (
            pytest.raises(LockTimeoutError, match=r"graph is held by .*a purpose.* within 0\.2 s"),
            patient.hold([locks.GRAPH], "a test"),
        ):
            pytest.fail("the lock was taken")
