"""The code location as a whole: it loads, its import is cheap, and what it contains."""

import json
import os
import subprocess
import sys
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from syrupy.assertion import SnapshotAssertion

from imgret_assets.defs.build import build_defs
from imgret_assets.locations import PROJECT
from imgret_assets.settings import Settings, load_settings
from imgret_tests.support.fakes import FakeEmbedderResource

HEAVY = ["torch", "torchvision", "timm", "streamlit", "openvino", "matplotlib", "jgo", "ray", "faiss"]


@pytest.fixture
def definitions(settings: Settings) -> dg.Definitions:
    return build_defs(settings=settings)


def test_the_code_location_is_loadable(definitions: dg.Definitions) -> None:
    dg.Definitions.validate_loadable(definitions)
    assert definitions.get_repository_def().has_job("refresh")


def test_importing_the_code_location_loads_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys, json, imgret_assets.definitions; print(json.dumps(sorted(sys.modules)))"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = json.loads(done.stdout)
    assert "imgret_assets.defs.build" in loaded
    assert [name for name in HEAVY if name in loaded] == []


def test_the_code_location_creates_no_home(settings: Settings) -> None:
    build_defs(settings=settings)
    assert not settings.home.exists()


def test_keys_and_specs(definitions: dg.Definitions, snapshot: SnapshotAssertion) -> None:
    repository = definitions.get_repository_def()
    contents = {
        "assets": {spec.key.to_user_string(): _asset(spec) for spec in definitions.resolve_all_asset_specs()},
        "checks": sorted(
            f"{key.asset_key.to_user_string()}: {key.name}"
            for key in definitions.resolve_asset_graph().asset_check_keys
        ),
        "jobs": {job.name: _job(job) for job in repository.get_all_jobs() if not job.name.startswith("__")},
        "schedules": {
            schedule.name: f"{schedule.job_name} at {schedule.cron_schedule}, {schedule.default_status.value}"
            for schedule in repository.schedule_defs
        },
        "sensors": {
            sensor.name: f"{sensor.job_name if sensor.targets else 'no job'}, {sensor.minimum_interval_seconds} s, "
            f"{sensor.default_status.value}"
            for sensor in repository.sensor_defs
        },
        "resources": ", ".join(sorted(definitions.resources or {})),
    }
    assert contents == snapshot


def _asset(spec: dg.AssetSpec) -> dict[str, Any]:
    return {
        "deps": ", ".join(sorted(_dependency(dep) for dep in spec.deps)),
        "group": spec.group_name,
        "kinds": ", ".join(sorted(spec.kinds)),
        "partitions": " ".join(spec.partitions_def.get_partition_keys()) if spec.partitions_def else None,
    }


def _dependency(dep: dg.AssetDep) -> str:
    mapping = "" if dep.partition_mapping is None else f" by {type(dep.partition_mapping).__name__}"
    return dep.asset_key.to_user_string() + mapping


def _job(job: dg.JobDefinition) -> dict[str, Any]:
    return {
        "assets": ", ".join(sorted(key.to_user_string() for key in job.asset_layer.executable_asset_keys)),
        "executor": job.executor_def.name,
        "partitions": " ".join(job.partitions_def.get_partition_keys()) if job.partitions_def else None,
    }


def test_every_asset_has_an_owner_a_description_and_a_layer(definitions: dg.Definitions) -> None:
    specs = list(definitions.resolve_all_asset_specs())
    assert len(specs) >= 6
    for spec in specs:
        assert spec.owners, spec.key
        assert all("@" in owner or owner.startswith("team:") for owner in spec.owners), spec.key
        assert len(spec.description or "") > 20, spec.key
        assert spec.group_name in ("raw", "vectors", "graph"), spec.key


def test_every_asset_takes_all_partitions_in_one_run(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    for key in graph.get_all_asset_keys():
        assert graph.get(key).backfill_policy == dg.BackfillPolicy.single_run(), key


def test_no_step_uses_a_pool_of_dagster(definitions: dg.Definitions) -> None:
    """A killed run keeps its slot, and a step that waits for one in this process logs nothing and cannot be stopped."""
    jobs = definitions.get_repository_def().get_all_jobs()
    assert {"refresh", "__ASSET_JOB"} <= {job.name for job in jobs}
    assert {job.name: job.graph.pools for job in jobs if job.graph.pools} == {}
    tagged = [node.name for job in jobs for node in job.nodes if "dagster/concurrency_key" in node.definition.tags]
    assert tagged == []


def test_every_job_check_and_resource_field_is_described(definitions: dg.Definitions) -> None:
    repository = definitions.get_repository_def()
    for name in ("refresh", "query_similar_images"):
        assert len(repository.get_job(name).description or "") > 20, name
    for check in definitions.asset_checks or ():
        assert isinstance(check, dg.AssetChecksDefinition)
        assert all(spec.description for spec in check.check_specs)
    for key, resource in (definitions.resources or {}).items():
        if not isinstance(resource, dg.ConfigurableResource):
            assert type(resource).__doc__, key
            continue
        fields = type(resource).model_fields
        assert [name for name, field in fields.items() if not field.description and name != "image_store"] == [], key


def test_the_number_of_shards_comes_from_the_settings(definitions: dg.Definitions, settings: Settings) -> None:
    [spec] = [spec for spec in definitions.resolve_all_asset_specs() if spec.key == dg.AssetKey("raw_images")]
    assert spec.partitions_def is not None
    assert spec.partitions_def.get_partition_keys() == ["00", "01", "02", "03"]


def test_an_unknown_resource_key_is_an_error(settings: Settings) -> None:
    with pytest.raises(ValueError, match=r"unknown resource keys \['neo5j'\]; known: \['compute', 'embedder'"):
        build_defs(settings=settings, resources={"neo5j": FakeEmbedderResource()})


def test_a_resource_replaces_the_default_of_its_key(settings: Settings) -> None:
    fake = FakeEmbedderResource()
    resources = build_defs(settings=settings, resources={"embedder": fake}).resources or {}
    assert resources["embedder"] is fake
    assert sorted(resources) == ["compute", "embedder", "image_store", "neo4j", "run_counts", "warehouse"]


def test_the_code_location_loads_without_warnings_and_silences_none() -> None:
    """In a new process, because most assets are made at import; Dagster calls their `backfill_policy` beta."""
    program = """
import warnings
import dagster
from imgret_assets.definitions import defs
defs.get_repository_def()
try:
    warnings.warn("about something else", dagster.BetaWarning)
except dagster.BetaWarning:
    print("a later warning is not silenced")
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], cwd=PROJECT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("a later warning is not silenced\n", "")


@pytest.mark.parametrize(
    "command",
    [
        ["dg", "check", "defs"],
        ["dg", "list", "defs", "--json"],
        ["dagster", "definitions", "validate"],
    ],
    ids=" ".join,
)
def test_the_commands_of_dagster_load_this_folder(command: list[str], tmp_path: Path) -> None:
    """`pyproject.toml` and `workspace.yaml` name the code location."""
    settings_of_dg = {"DG_CLI_CONFIG": str(PROJECT / "scripts" / "dg.toml")}
    environment = os.environ | {"HOME": str(tmp_path), "DAGSTER_HOME": str(tmp_path), "NO_COLOR": "1"} | settings_of_dg
    program = Path(sys.executable).parent / command[0]
    done = subprocess.run(
        [program, *command[1:]], cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    if "--json" in command:
        listed = json.loads(done.stdout)
        assert {"raw_images", "similar_to", "decided"} <= {asset["asset_key"] for asset in listed["assets"]}


def test_dg_sends_no_usage_statistics_with_the_settings_of_this_project(tmp_path: Path) -> None:
    """In a new process, because dg reads its settings from the environment; without the file they are on."""
    program = "from dagster_dg_core.utils.telemetry import get_telemetry_enabled_for_cli as ask; print(ask())"
    for file, is_on in ((PROJECT / "scripts" / "dg.toml", "False"), (tmp_path / "none.toml", "True")):
        environment = os.environ | {"HOME": str(tmp_path), "DG_CLI_CONFIG": str(file)}
        done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
        assert (done.stdout, done.stderr) == (f"{is_on}\n", "")
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    assert project["tool"]["dg"]["cli"]["telemetry"] == {"enabled": False}


def test_assets_have_a_freshness_policy_only_where_the_setting_asks_for_one(settings: Settings) -> None:
    asked = load_settings({"home": settings.home, "fresh_within_hours": 26})
    policy = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=26))
    for given, expected in ((settings, None), (asked, policy)):
        specs = build_defs(settings=given).resolve_all_asset_specs()
        assert {spec.freshness_policy for spec in specs} == {expected}
