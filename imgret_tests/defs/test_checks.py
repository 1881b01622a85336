"""Checks of the tables: they pass after a run and fail after damage.

Checks of the graph are in `server/test_graph_checks.py`.
"""

from collections.abc import Callable

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest

from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.tables import embeddings_path, manifest_path
from imgret_tests.support.chain import TABLES, Chain
from imgret_tests.support.pictures import picture_bytes, write_pictures

CHECKED = ("raw_images", "embeddings")
Damage = Callable[[Chain], None]


@pytest.fixture
def built(chain: Chain) -> Chain:
    write_pictures(chain.root, 20)
    chain.refresh_tables()
    return chain


def _with_vector(value: float) -> Damage:
    """Return a function that replaces the first vector of a shard by a constant and keeps everything else."""

    def damage(chain: Chain) -> None:
        path = embeddings_path(chain.home.warehouse, chain.space.id, "01")
        table, metadata = tables.read(path), tables.read_metadata(path)
        vectors = np.stack(table["embedding"].to_pylist()).astype(np.float32)
        vectors[0] = value
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
        schema = table.schema.remove_metadata()
        table = pa.Table.from_arrays([*(table[name] for name in schema.names[:-1]), column], schema=schema)
        tables.write(path, table, metadata)

    return damage


def _of_another_space(chain: Chain) -> None:
    path = embeddings_path(chain.home.warehouse, chain.space.id, "02")
    table = tables.read(path)
    tables.write(path, table, tables.read_metadata(path) | {"space": "other-00000000"})


def _without_a_shard(chain: Chain) -> None:
    embeddings_path(chain.home.warehouse, chain.space.id, "03").unlink()


def _without_a_manifest(chain: Chain) -> None:
    manifest_path(chain.home.warehouse, "00").unlink()


def _with_bad_files(chain: Chain) -> None:
    for number in range(3):
        (chain.root / f"bad{number}.png").write_bytes(b"not an image")
    chain.refresh_tables()


def _with_cut_files(chain: Chain) -> None:
    for number in range(3):
        (chain.root / f"cut{number}.png").write_bytes(picture_bytes(number)[:-100])
    chain.refresh_tables()


def test_all_pass_after_a_run(built: Chain) -> None:
    checks = built.check(*CHECKED)
    assert {name: check.passed for name, check in checks.items()} == {
        "unusable_files_below_limit": True,
        "one_embedding_space": True,
        "finite_nonzero_vectors": True,
    }
    assert checks["finite_nonzero_vectors"].metadata["vectors"].value == 20
    assert checks["one_embedding_space"].metadata["space"].value == built.space.id
    assert checks["unusable_files_below_limit"].metadata["limit"].value == 0.1


@pytest.mark.parametrize(
    ("damage", "failing", "message"),
    [
        pytest.param(_with_vector(0.0), {"finite_nonzero_vectors"}, "Zero or not finite: 1 vector", id="zero"),
        pytest.param(_with_vector(float("nan")), {"finite_nonzero_vectors"}, "Zero or not finite: 1 vector", id="nan"),
        pytest.param(_with_vector(float("inf")), {"finite_nonzero_vectors"}, "Zero or not finite: 1 vector", id="inf"),
        pytest.param(_of_another_space, {"one_embedding_space"}, "shards 02 are missing or of another", id="space"),
        pytest.param(_without_a_shard, {"one_embedding_space"}, "shards 03 are missing", id="shard"),
        pytest.param(_without_a_manifest, {"unusable_files_below_limit"}, "manifest of shard 00", id="manifest"),
        pytest.param(_with_bad_files, {"unusable_files_below_limit"}, "3 of 23 files", id="bad-files"),
        pytest.param(_with_cut_files, {"unusable_files_below_limit"}, "3 of 23 files", id="cut-files"),
    ],
)
def test_damage_fails_its_check(built: Chain, damage: Damage, failing: set[str], message: str) -> None:
    damage(built)
    checks = built.check(*CHECKED)
    assert {name for name, check in checks.items() if not check.passed} == failing
    assert all(message in (checks[name].description or "") for name in failing)


def test_unusable_files_are_a_warning(built: Chain) -> None:
    _with_bad_files(built)
    check = built.check("raw_images")["unusable_files_below_limit"]
    assert check.severity == dg.AssetCheckSeverity.WARN
    assert check.metadata["status_not_an_image"].value == 3
    assert built.check("embeddings")["one_embedding_space"].severity == dg.AssetCheckSeverity.ERROR


def test_a_few_unusable_files_pass(built: Chain) -> None:
    (built.root / "bad.png").write_bytes(b"not an image")
    built.refresh_tables()
    check = built.check("raw_images")["unusable_files_below_limit"]
    assert (check.passed, check.metadata["unusable"].value) == (True, 1)


def test_without_tables_the_checks_fail_without_an_error(chain: Chain) -> None:
    checks = chain.check(*CHECKED)
    assert len(checks) == 3
    assert not any(check.passed for check in checks.values())


def test_a_run_of_some_shards_succeeds_although_checks_cover_all_shards(chain: Chain) -> None:
    write_pictures(chain.root, 20)
    outcome = chain.run(assets=["raw_images", "embeddings"], shards=("02", "02"))
    assert outcome.result.success
    assert "one_embedding_space" in outcome.failed_checks


def test_failing_checks_do_not_stop_the_run(built: Chain) -> None:
    _with_bad_files(built)
    outcome = built.run(assets=TABLES)
    assert outcome.result.success
    assert outcome.failed_checks == ["unusable_files_below_limit"]
