"""DAGSTER_HOME: created once, also by several processes at the same time."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from imgret_assets.defs.instance.dagster_home import open_instance, prepare
from imgret_assets.errors import DiskFullError, HomeError
from imgret_assets.locations import PROJECT
from imgret_assets.settings import Settings, load_settings
from imgret_tests.support.full_disk import SmallDisk, small_disk

PROCESSES = 8
# The processes are forked after all imports, wait at a pipe, and start at the same time.
OPEN_TOGETHER = """
import os, sys
import dagster as dg
from imgret_assets.defs.instance.dagster_home import open_instance
from imgret_assets.settings import load_settings

settings = load_settings()
held, gate = os.pipe()
for number in range(int(sys.argv[1])):
    if os.fork() == 0:
        os.close(gate)
        os.read(held, 1)
        with open_instance(settings) as instance:
            instance.report_runless_asset_event(dg.AssetMaterialization(f"opened_by_{number}"))
            runs = len(instance.get_runs())
        os._exit(runs)
os.close(gate)
print([os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(int(sys.argv[1]))])
"""


def test_telemetry_is_off_and_run_monitoring_on(settings: Settings) -> None:
    with open_instance(settings) as instance:
        assert os.environ["DAGSTER_HOME"] == str(settings.dagster_home)
        assert instance.telemetry_enabled is False
        assert instance.run_monitoring_enabled is True
        assert Path(instance.root_directory) == settings.dagster_home
    assert settings.dagster_home == settings.home / "dagster"


def test_records_are_kept_when_it_is_opened_again(settings: Settings) -> None:
    with open_instance(settings) as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization("something"))
    with open_instance(settings) as instance:
        assert instance.get_latest_materialization_event(dg.AssetKey("something")) is not None


def test_the_configuration_of_a_user_is_kept(settings: Settings) -> None:
    settings.dagster_home.mkdir(parents=True)
    configuration = "telemetry:\n  enabled: false\nretention:\n  sensor:\n    purge_after_days: 3\n"
    (settings.dagster_home / "dagster.yaml").write_text(configuration)
    prepare(settings)
    assert (settings.dagster_home / "dagster.yaml").read_text() == configuration


def test_dagster_home_may_be_elsewhere(settings: Settings, tmp_path: Path) -> None:
    elsewhere = load_settings({"home": settings.home, "dagster_home": tmp_path / "elsewhere"})
    prepare(elsewhere)
    assert (tmp_path / "elsewhere" / "dagster.yaml").is_file()
    assert not (settings.home / "dagster").exists()


def test_eight_processes_open_a_new_home_at_the_same_time(settings: Settings) -> None:
    environment = os.environ | {"IMGRET_HOME": str(settings.home)}
    environment.pop("DAGSTER_HOME", None)
    done = subprocess.run(
        [sys.executable, "-c", OPEN_TOGETHER, str(PROCESSES)],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == str([0] * PROCESSES), done.stderr
    with open_instance(settings) as instance:
        assert len(instance.get_asset_keys()) == PROCESSES


def fill_within_a_run(settings: Settings, disk: SmallDisk) -> None:
    """Fill the disk while the storage is open, and store more than its files have room for."""
    with open_instance(settings) as instance:
        disk.fill()
        for _ in range(50):
            instance.report_runless_asset_event(dg.AssetMaterialization("a", metadata={"text": "x" * 9000}))


def test_a_full_disk_is_named_at_the_start_and_within_a_run(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 4) as disk:
        settings = load_settings({"home": disk.path / "home"}, env={"IMGRET_ENV_FILE": os.devnull})
        disk.path.joinpath("home").mkdir()
        disk.fill()
        with pytest.raises(DiskFullError, match="No room on the disk"), open_instance(settings):
            pass
        disk.free()
        with pytest.raises(DiskFullError, match=r"Dagster's storage in .*free some space"):
            fill_within_a_run(settings, disk)
        disk.free()
        with open_instance(settings) as instance:
            instance.report_runless_asset_event(dg.AssetMaterialization("after"))
            assert instance.get_latest_materialization_event(dg.AssetKey("after")) is not None


def test_other_errors_of_a_run_stay_what_they_are(tmp_path: Path) -> None:
    settings = load_settings({"home": tmp_path}, env={"IMGRET_ENV_FILE": os.devnull})
    for error in (ValueError("other"), HomeError("other"), sqlite3.OperationalError("no such table")):
        with pytest.raises(type(error), match=str(error)), open_instance(settings):
            raise error


@pytest.mark.timeout(60)
def test_an_error_that_is_its_own_cause_ends_a_run(tmp_path: Path) -> None:
    error = ValueError("wrong")
    with pytest.raises(ValueError, match="wrong"), open_instance(load_settings({"home": tmp_path})):
        raise error from error
