"""Tests of the spaces and models of a home: tables, weights, speeds."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from imgret_assets.domain.embeddings.embedding_spaces import (
    KnownModel,
    exact_only_notice,
    known_models,
    read_speeds,
    record_speed,
    spaces_with_tables,
)
from imgret_assets.domain.embeddings.embeddings_table import refresh_embeddings
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.models.preprocessing import Preprocessing
from imgret_assets.domain.models.resolution import record_space
from imgret_assets.domain.similarity.pairs_table import refresh_pairs
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home
from imgret_tests.support.fake_model import FakeEmbedder
from imgret_tests.support.pictures import picture_bytes, write_pictures

pytestmark = pytest.mark.usefixtures("settled")


def built(home: Home, embedder: FakeEmbedder) -> EmbeddingSpace:
    refresh_manifest(home)
    refresh_embeddings(home, embedder)
    refresh_pairs(home, embedder.space.id, 0.5)
    return embedder.space


def rows_of(home: Home) -> dict[str, KnownModel]:
    return {row.space or row.name: row for row in known_models(home)}


def test_a_new_home_lists_the_models_that_need_no_download(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(home.path / "nothing"))
    found = known_models(home)
    # The second network of the family is there where its extra is installed.
    assert [(row.name, row.dim, row.weights) for row in found if row.name != "efficientnet_lite2"] == [
        ("resnet50", 2048, "missing"),
        ("efficientnet_lite0", 1280, "here"),
    ]
    assert all((row.space, row.tables, row.in_graph, row.speeds) == (None, None, False, {}) for row in found)


def test_several_spaces_are_counted_separately(home: Home, images: Path) -> None:
    write_pictures(images, 12)
    one, two = built(home, FakeEmbedder()), built(home, FakeEmbedder("other", 3))
    (images / "later.png").write_bytes(picture_bytes(99))
    built(home, FakeEmbedder())
    there = spaces_with_tables(home)
    assert {space: (found.rows, found.shards, found.damaged) for space, found in there.items()} == {
        one.id: (13, 4, 0),
        two.id: (12, 4, 0),
    }
    assert there[one.id].space == one
    assert there[one.id].pairs == tables.count_rows(tables.pairs_path(home.warehouse, one.id)) > 0
    rows = rows_of(home)
    assert rows[two.id].tables == there[two.id]
    assert rows[two.id].dim == 27


def test_damaged_files_are_counted_and_folders_of_other_names_ignored(home: Home, images: Path) -> None:
    write_pictures(images, 12)
    space = built(home, FakeEmbedder())
    tables.embeddings_path(home.warehouse, space.id, "02").write_bytes(b"torn")
    tables.pairs_path(home.warehouse, space.id).unlink()
    (tables.embeddings_folder(home.warehouse) / "model=empty-00000000").mkdir()
    renamed = tables.embeddings_folder(home.warehouse) / "model=renamed-00000000"
    renamed.mkdir()
    source = tables.embeddings_path(home.warehouse, space.id, "00")
    (renamed / source.name).write_bytes(source.read_bytes())
    (found,) = spaces_with_tables(home).values()
    assert (found.space, found.shards, found.damaged, found.pairs) == (space, 3, 1, None)


def test_the_space_of_the_last_run_is_in_the_graph(home: Home) -> None:
    own, gem = (record_space(home, "efficientnet_lite0", pooling=pooling).space for pooling in ("auto", "gem"))
    rows = rows_of(home.update(model="efficientnet_lite0"))
    assert (rows[own.id].in_graph, rows[gem.id].in_graph) == (True, False)
    assert (rows[gem.id].pooling, rows[gem.id].decoding, rows[gem.id].weights) == ("gem", "scaled", "here")
    assert "efficientnet_lite0" not in rows, "it is there with its spaces"


def test_weights_of_a_file_are_here_while_one_copy_exists(home: Home, tmp_path: Path) -> None:
    for name in ("one", "copy"):
        (tmp_path / name).write_bytes(b"weights")
        space = record_space(home, "resnet50", tmp_path / name).space
    for gone, state in (("one", "here"), ("copy", "missing")):
        (tmp_path / gone).unlink()
        assert rows_of(home)[space.id].weights == state


def test_speeds_are_kept_by_space_and_engine(home: Home) -> None:
    assert read_speeds(home) == {}
    record_speed(home, "a-1", "openvino-cpu-float32", 75.04)
    record_speed(home, "a-1", "torch-cpu-float32", 20)
    record_speed(home, "b-2", "torch-cpu-float32", 7)
    record_speed(home, "a-1", "openvino-cpu-float32", 80.06)
    assert read_speeds(home) == {
        "a-1": {"openvino-cpu-float32": 80.1, "torch-cpu-float32": 20.0},
        "b-2": {"torch-cpu-float32": 7.0},
    }
    assert (home.path / "models/speeds.json").is_file()
    space = record_space(home, "efficientnet_lite0").space
    record_speed(home, space.id, "x", 3)
    assert rows_of(home)[space.id].speeds == {"x": 3.0}


def test_speeds_noted_concurrently_are_all_kept(home: Home) -> None:
    threads = [threading.Thread(target=record_speed, args=(home, f"s-{n}", "e", n)) for n in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(read_speeds(home)) == 6


@pytest.mark.parametrize("damage", ["", "[]", "3", '{"a": 1}', '{"a": {"e": "fast"}}', '{"a": {"e": null}}'])
def test_a_damaged_note_of_speeds_is_replaced(home: Home, damage: str) -> None:
    (home.path / "models").mkdir(parents=True)
    (home.path / "models/speeds.json").write_text(damage)
    assert read_speeds(home) == {}
    record_speed(home, "a-1", "e", 1.5)
    assert read_speeds(home) == {"a-1": {"e": 1.5}}


def test_a_space_that_neo4j_can_not_index_has_a_notice() -> None:
    space = EmbeddingSpace("timm:wide", "ab" * 32, Preprocessing((8, 8), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)), 4096)
    assert exact_only_notice(space) is None
    notice = exact_only_notice(replace(space, dim=4097))
    assert notice is not None
    assert "timm:wide has vectors of 4,097 dimensions" in notice
    row = KnownModel("timm:wide", 4097, (8, 8), "full", "auto", space.id, False, "here", None, False, {})
    assert (row.exact_only, replace(row, dim=4096).exact_only) == (True, False)
