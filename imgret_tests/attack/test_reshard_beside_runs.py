"""Runs and reshards of one home at once: each does its work or names the other, and nothing is lost.

Afterwards the tables are those from nothing. Every second round has a run of `imgret run`, with Dagster's records.
"""

import multiprocessing
import time
from collections import Counter
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from neo4j import Driver

from imgret_assets.domain.operations.reshard import reshard
from imgret_assets.domain.storage.home import open_home
from imgret_assets.settings import load_settings
from imgret_tests.attack.test_kill_points import Attack, attack_on, change_collection, sampled
from imgret_tests.support.neo4j_server import TestedServer

ROUND_WITHIN_S = 120.0
# What a run may say that began before the reshard; all other failures are faults.
NAMED = "ReshardedError"
Outcomes = dict[str, tuple[str, Any]]
NAMES = ("first run", "second run", "reshard")


def _reshard(pipe: Connection, env: Mapping[str, str], shards: int, delay_s: float) -> None:
    """The other process: wait, rewrite the tables, and tell the outcome."""
    time.sleep(delay_s)
    try:
        home = open_home(load_settings(env=dict(env)))
        pipe.send(("done", reshard(home, shards).shards))
    except Exception as error:
        pipe.send(("failed", f"{type(error).__name__}: {error}"))


def run_beside_reshard(
    attack: Attack, shards: int, delays: Mapping[str, float], *, lasting: bool
) -> dict[str, tuple[str, Any]]:
    """Start two runs and a reshard, each after its delay in seconds, and return what each said."""
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe()
    other = context.Process(target=_reshard, args=(theirs, attack.env, shards, delays["reshard"]), daemon=True)
    runs = [attack.start(lasting=False), attack.start(lasting=lasting)]
    other.start()
    for run, name in zip(runs, NAMES[:2], strict=True):
        run.process.join(delays[name])
        run.go()
    said = {}
    for name, pipe in zip(NAMES, (runs[0].pipe, runs[1].pipe, ours), strict=True):
        assert pipe.poll(ROUND_WITHIN_S), f"the {name} is stuck"
        said[name] = pipe.recv()
    for process in (runs[0].process, runs[1].process, other):
        process.join(30)
    return said


@pytest.mark.server
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("rounds", sampled(1, 20))
def test_runs_beside_a_reshard(tested_server: TestedServer, database: Driver, tmp_path: Path, rounds: int) -> None:
    counts: Counter[str] = Counter()
    with attack_on(tested_server, database, tmp_path, "reshard") as attack:
        attack.graph.refresh_all()
        seconds, _ = attack.calibrate(lasting=False)
        # A home says itself how many shards it has.
        del attack.env["IMGRET_SHARDS"]
        for number in range(rounds):
            change_collection(attack.graph.root, attack.rng, number)
            shards, lasting = (2, 16, 5, 8)[number % 4], number % 2 == 1
            delays = {name: float(attack.rng.uniform(0.0, seconds / 2)) for name in NAMES}
            for name, (outcome, value) in run_beside_reshard(attack, shards, delays, lasting=lasting).items():
                assert outcome == "done" or (NAMED in value and name != "reshard"), (number, name, value)
                counts[f"{name} {outcome}"] += 1
            home = open_home(load_settings(env=attack.env))
            assert home.record.shards == shards
            # In the number of shards of the home from nothing that it is compared with.
            reshard(home, 4)
            attack.recover(f"round {number}, {shards} shards", lasting=lasting)
        attack.tally.finish()
        if rounds > 1:
            attack.assert_no_dead_run_is_left()
    print(f"RESHARD: {dict(counts)}", flush=True)  # noqa: T201
