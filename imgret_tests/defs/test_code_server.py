"""The start of the code container (docker/code_server.py): which runs of an earlier container it ends."""

import importlib.util
import uuid
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from imgret_assets.defs.instance.process_runs import PROCESS_TAG, process_tag
from imgret_assets.defs.jobs import REFRESH
from imgret_tests.support.chain import Chain

FILE = Path(__file__).resolve().parents[2] / "docker" / "code_server.py"


@pytest.fixture
def end_earlier_runs(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> Callable[[dg.DagsterInstance], int]:
    """The function of the container's script, over the home of the test."""
    monkeypatch.setenv("IMGRET_HOME", str(chain.home.path))
    spec = importlib.util.spec_from_file_location("code_server", FILE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.end_earlier_runs


def started(chain: Chain, instance: dg.DagsterInstance, tags: dict[str, str]) -> str:
    job = chain.definitions.resolve_job_def(REFRESH)
    return instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=tags).run_id


def test_runs_that_were_cut_off_with_their_container_are_ended_and_living_ones_stay(
    chain: Chain, instance: dg.DagsterInstance, end_earlier_runs: Callable[[dg.DagsterInstance], int]
) -> None:
    of_the_command = started(chain, instance, {PROCESS_TAG: f"{chain.home.record.id} {uuid.uuid4().hex} 17"})
    of_the_server = started(chain, instance, {".dagster/grpc_info": "{}"})
    living = started(chain, instance, process_tag(chain.home))
    assert end_earlier_runs(instance) == 2
    statuses = {run.run_id: run.status for run in instance.get_runs()}
    assert statuses == {
        of_the_command: dg.DagsterRunStatus.FAILURE,
        of_the_server: dg.DagsterRunStatus.FAILURE,
        living: dg.DagsterRunStatus.STARTED,
    }


def test_a_home_that_cannot_be_opened_is_named_and_runs_of_the_server_are_ended_all_the_same(
    chain: Chain,
    instance: dg.DagsterInstance,
    end_earlier_runs: Callable[[dg.DagsterInstance], int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    started(chain, instance, {".dagster/grpc_info": "{}"})
    (chain.home.path / "home.json").write_text("no JSON")
    assert end_earlier_runs(instance) == 1
    assert "home.json" in capsys.readouterr().out
