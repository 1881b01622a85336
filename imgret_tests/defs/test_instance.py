"""Dagster's own home: made once, whoever comes first."""

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from imgret_assets.defs.instance import open_instance, prepare
from imgret_assets.settings import PROJECT, Settings, load_settings

PROCESSES = 8
OPENING = """
import sys
import dagster as dg
from imgret_assets.defs.instance import open_instance
from imgret_assets.settings import load_settings
settings = load_settings()
print("ready", flush=True)
sys.stdin.readline()
with open_instance(settings) as instance:
    instance.report_runless_asset_event(dg.AssetMaterialization(f"opened_by_{sys.argv[1]}"))
    print(len(instance.get_runs()), flush=True)
"""


@pytest.fixture(autouse=True)
def _own_dagster_home(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    # `prepare` points the process at its home; this puts things back afterwards.
    monkeypatch.setenv("DAGSTER_HOME", str(settings.dagster_home))


def test_it_is_made_with_telemetry_off_and_monitoring_on(settings: Settings) -> None:
    with open_instance(settings) as instance:
        assert os.environ["DAGSTER_HOME"] == str(settings.dagster_home)
        assert instance.telemetry_enabled is False
        assert instance.run_monitoring_enabled is True
        assert instance.run_storage.supports_bucket_queries
        assert Path(instance.root_directory) == settings.dagster_home
    assert settings.dagster_home == settings.home / "dagster"


def test_runs_are_there_when_it_is_opened_again(settings: Settings) -> None:
    with open_instance(settings) as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization("something"))
    with open_instance(settings) as instance:
        assert instance.get_latest_materialization_event(dg.AssetKey("something")) is not None


def test_a_configuration_of_the_user_is_kept(settings: Settings) -> None:
    settings.dagster_home.mkdir(parents=True)
    theirs = "telemetry:\n  enabled: false\nretention:\n  sensor:\n    purge_after_days: 3\n"
    (settings.dagster_home / "dagster.yaml").write_text(theirs)
    prepare(settings)
    assert (settings.dagster_home / "dagster.yaml").read_text() == theirs


def test_dagster_home_may_be_elsewhere(settings: Settings, tmp_path: Path) -> None:
    elsewhere = load_settings({"home": settings.home, "dagster_home": tmp_path / "elsewhere"})
    prepare(elsewhere)
    assert (tmp_path / "elsewhere" / "dagster.yaml").is_file()
    assert not (settings.home / "dagster").exists()


def test_eight_processes_open_a_fresh_home_at_once(settings: Settings) -> None:
    environment = os.environ | {"IMGRET_HOME": str(settings.home)}
    environment.pop("DAGSTER_HOME")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OPENING, str(number)],
            cwd=PROJECT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        assert not settings.dagster_home.exists()
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        ended = [process.communicate(timeout=120) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * PROCESSES, [said for _, said in ended]
    assert [said for said, _ in ended] == ["0\n"] * PROCESSES
    with open_instance(settings) as instance:
        assert len(instance.get_asset_keys()) == PROCESSES
