"""Tests of the refresh of embeddings: rows and vectors, each content once, failures, killed runs."""

import errno
import hashlib
import sqlite3
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from imgret_assets.domain.embeddings import embeddings_table
from imgret_assets.domain.embeddings.embeddings_table import EmbeddingsReport, refresh_embeddings
from imgret_assets.domain.embeddings.pending_vectors import EmbeddingResult, PendingVectors
from imgret_assets.domain.images import image_reader
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.runtime.progress import Progress
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.domain.storage.home_record import read_record
from imgret_assets.errors import DiskFullError, ModelError, StaleTableError, TableError
from imgret_assets.image_roots import ImageRoots
from imgret_tests.support.fake_model import FailingEmbedder, FakeEmbedder
from imgret_tests.support.odd_files import odd_files, saved
from imgret_tests.support.older_decoder import as_of_older_decoder
from imgret_tests.support.picture_forms import colours, tiff
from imgret_tests.support.pictures import picture, picture_bytes
from imgret_tests.support.processes import Process
from imgret_tests.support.tree import embedding_rows, path_in, put, put_pictures, stamps

pytestmark = pytest.mark.usefixtures("settled")


@pytest.fixture
def embedder() -> FakeEmbedder:
    return FakeEmbedder()


def refresh(home: Home, embedder: FakeEmbedder, shards: Sequence[str] | None = None) -> EmbeddingsReport:
    refresh_manifest(home, shards)
    return refresh_embeddings(home, embedder, shards)


def written(report: EmbeddingsReport) -> list[str]:
    return [shard.shard for shard in report.shards if shard.written]


def expected_vector(seed: int) -> list[float]:
    model = FakeEmbedder()
    return model.embed(model.prepare(picture(seed))[np.newaxis])[0].tolist()


def half_a_picture() -> bytes:
    return next(odd.data for odd in odd_files() if odd.name == "half a jpeg.jpg")


# Rows and reports


def test_a_row_for_each_usable_manifest_row(home: Home, images: Path, embedder: FakeEmbedder) -> None:
    put(images, "cars/red.png", picture_bytes(1))
    put(images, "half.jpg", half_a_picture())
    put(images, "text.jpg", b"no picture at all")
    refresh(home, embedder)
    assert embedding_rows(home, embedder.space.id) == {
        "cars/red.png": {
            "path": "cars/red.png",
            "sha256": hashlib.sha256(picture_bytes(1)).hexdigest(),
            "status": "ok",
            "error": None,
            "engine": "fake",
            "embedding": expected_vector(1),
        },
        "half.jpg": {
            "path": "half.jpg",
            "sha256": hashlib.sha256(half_a_picture()).hexdigest(),
            "status": "truncated",
            "error": embedding_rows(home, embedder.space.id)["half.jpg"]["error"],
            "engine": None,
            "embedding": None,
        },
    }
    assert "end mark of the JPEG" in embedding_rows(home, embedder.space.id)["half.jpg"]["error"]


def test_tables_have_the_documented_schema_and_metadata(home: Home, images: Path, embedder: FakeEmbedder) -> None:
    put_pictures(images, [1])
    refresh(home, embedder)
    for shard in home.shards:
        file = tables.embeddings_path(home.warehouse, embedder.space.id, shard)
        schema = pq.read_schema(file)
        assert schema.names == ["path", "sha256", "status", "error", "engine", "embedding"]
        assert schema.field("embedding").type == pa.list_(pa.float32(), 48)
        said = tables.read_metadata(file)
        assert said["model"] == "fake"
        assert (said["weights_sha256"], said["dim"], said["shard"]) == ("0" * 64, "48", shard)
        assert '"size": [4, 4]' in said["preprocessing"]


def test_vectors_are_stored_without_normalisation(home: Home, images: Path, embedder: FakeEmbedder) -> None:
    """The article stores raw vectors."""
    paths = put_pictures(images, range(20))
    refresh(home, embedder)
    rows = embedding_rows(home, embedder.space.id)
    for seed, path in enumerate(paths):
        assert rows[path]["embedding"] == expected_vector(seed)


def test_the_report_counts_embedded_and_unusable_images(home: Home, images: Path, embedder: FakeEmbedder) -> None:
    put_pictures(images, range(10))
    put(images, "half.jpg", half_a_picture())
    report = refresh(home, embedder)
    assert (report.space, report.engine, report.other_engines) == (embedder.space.id, "fake", [])
    assert (report.embedded, report.failed) == (10, 1)
    assert sum((shard.statuses for shard in report.shards), Counter()) == {"ok": 10, "truncated": 1}
    assert [row[:2] for shard in report.shards for row in shard.unusable] == [("half.jpg", "truncated")]
    assert len([path for shard in report.shards for path in shard.examples]) == 10
    assert report.summary.startswith(f"10 of 11 images embedded in {embedder.space.id} by fake in ")
    assert report.summary.endswith("1 unusable.")


def test_progress_counts_every_image_once(home: Home, images: Path, embedder: FakeEmbedder) -> None:
    put_pictures(images, range(10))
    put(images, "half.jpg", half_a_picture())
    refresh_manifest(home)
    told: list[Progress] = []
    refresh_embeddings(home, embedder, progress=told.append)
    assert [(one.done, one.total) for one in told] == [(number, 11) for number in range(1, 12)]


def test_progress_of_several_groups_has_the_total_of_the_run(
    home: Home, images: Path, embedder: FakeEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embeddings_table, "GROUP_IMAGES", 1)
    put_pictures(images, range(10))
    refresh_manifest(home)
    told: list[Progress] = []
    refresh_embeddings(home, embedder, progress=told.append)
    assert [(one.done, one.total) for one in told] == [(number, 10) for number in range(1, 11)]


def test_missing_contents_are_counted_only_if_several_groups_embed(
    home: Home, images: Path, embedder: FakeEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counting reads all manifests and tables again."""
    put_pictures(images, range(10))
    refresh_manifest(home)
    monkeypatch.setattr(embeddings_table, "count_missing", lambda *_: pytest.fail("it was counted"))
    assert refresh_embeddings(home, embedder).embedded == 10
    monkeypatch.setattr(embeddings_table, "GROUP_IMAGES", 1)
    assert refresh_embeddings(home, embedder).embedded == 0


# Each content once


def test_an_unchanged_collection_decodes_and_writes_nothing(
    home: Home, images: Path, embedder: FakeEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_pictures(images, range(12))
    put(images, "half.jpg", half_a_picture())
    refresh(home, embedder)
    before = stamps(home.warehouse)
    monkeypatch.setattr(image_reader, "decode", lambda *_, **__: pytest.fail("a picture was decoded"))
    report = refresh(home, embedder)
    assert (report.embedded, report.failed, written(report)) == (0, 0, [])
    assert report.summary == f"13 images with embeddings in {embedder.space.id}: nothing was embedded."
    assert sum((shard.statuses for shard in report.shards), Counter()) == {"ok": 12, "truncated": 1}
    assert stamps(home.warehouse) == before


def test_exact_duplicates_in_several_shards_are_embedded_once(home: Home, images: Path, embedder: FakeEmbedder) -> None:
    paths = [path_in(shard) for shard in home.shards] + [path_in("00", stem="again")]
    for path in paths:
        put(images, path, picture_bytes(1))
    assert refresh(home, embedder).embedded == 1
    rows = embedding_rows(home, embedder.space.id)
    assert sorted(rows) == sorted(paths)
    assert all(row["embedding"] == expected_vector(1) for row in rows.values())


def test_exact_duplicates_of_separate_runs_are_embedded_once(home: Home, images: Path, embedder: FakeEmbedder) -> None:
    for shard in home.shards:
        put(images, path_in(shard), picture_bytes(1))
        refresh(home, embedder, [shard])
    assert embedder.embedded == 1


@pytest.mark.parametrize("order", [["00", "01"], ["01", "00"]])
def test_a_file_renamed_into_another_shard_is_not_embedded_again(
    home: Home, images: Path, embedder: FakeEmbedder, order: list[str]
) -> None:
    """The order in which separate runs refresh the two shards does not matter."""
    old, new = path_in("00"), path_in("01")
    put(images, old, picture_bytes(1))
    put(images, path_in("00", stem="stays"), picture_bytes(2))
    refresh(home, embedder)
    (images / old).rename(images / new)
    for shard in order:
        refresh(home, embedder, [shard])
    assert embedder.embedded == 2
    rows = embedding_rows(home, embedder.space.id)
    assert old not in rows
    assert rows[new]["embedding"] == expected_vector(1)


def test_two_files_that_swap_names_between_shards_are_not_embedded_again(
    home: Home, images: Path, embedder: FakeEmbedder
) -> None:
    one, two = path_in("00"), path_in("01")
    put(images, one, picture_bytes(1))
    put(images, two, picture_bytes(2))
    refresh(home, embedder)
    put(images, one, picture_bytes(2))
    put(images, two, picture_bytes(1))
    for shard in ("00", "01"):
        refresh(home, embedder, [shard])
    assert embedder.embedded == 2
    rows = embedding_rows(home, embedder.space.id)
    assert (rows[one]["embedding"], rows[two]["embedding"]) == (expected_vector(2), expected_vector(1))


def test_a_file_that_returns_after_a_run_is_not_embedded_again(
    home: Home, images: Path, embedder: FakeEmbedder
) -> None:
    put_pictures(images, range(4))
    refresh(home, embedder)
    (images / "002.png").unlink()
    refresh(home, embedder)
    put(images, "back.png", picture_bytes(2))
    refresh(home, embedder)
    assert embedder.embedded == 4
    assert embedding_rows(home, embedder.space.id)["back.png"]["embedding"] == expected_vector(2)


def test_only_a_new_file_is_embedded(home: Home, images: Path, embedder: FakeEmbedder) -> None:
    put_pictures(images, range(20))
    refresh(home, embedder)
    put(images, path_in("02", stem="new"), picture_bytes(50))
    report = refresh(home, embedder)
    assert (report.embedded, written(report)) == (1, ["02"])
    assert [shard.examples for shard in report.shards if shard.examples] == [[path_in("02", stem="new")]]


def test_a_removed_file_loses_its_row_without_embedding(home: Home, images: Path, embedder: FakeEmbedder) -> None:
    put_pictures(images, range(20))
    refresh(home, embedder)
    (images / "007.png").unlink()
    report = refresh(home, embedder)
    assert (report.embedded, len(written(report))) == (0, 1)
    assert "007.png" not in embedding_rows(home, embedder.space.id)


def test_another_model_has_separate_tables(home: Home, images: Path, embedder: FakeEmbedder) -> None:
    put_pictures(images, range(6))
    refresh(home, embedder)
    before = stamps(home.warehouse / "embeddings")
    other = FakeEmbedder("other")
    assert refresh(home, other).embedded == 6
    assert {name: stamp for name, stamp in stamps(home.warehouse / "embeddings").items() if name in before} == before
    assert refresh(home, embedder).embedded == 0


def test_no_pending_vectors_are_left_after_a_run(home: Home, images: Path, embedder: FakeEmbedder) -> None:
    put_pictures(images, range(20))
    refresh(home, embedder)
    assert PendingVectors(home.work, embedder.space.id).count() == 0


def test_the_report_names_other_engines(home: Home, images: Path, embedder: FakeEmbedder) -> None:
    class Other(FakeEmbedder):
        engine = "other"  # type: ignore[assignment]

    put_pictures(images, range(3))
    refresh(home, embedder)
    put_pictures(images, [50])
    report = refresh(home, Other())
    assert (report.engine, report.other_engines) == ("other", ["fake"])
    assert report.summary.endswith("The collection also has vectors made by fake.")


@pytest.mark.parametrize("rows", [1, 3])
def test_small_groups_and_checkpoints_give_the_same_tables(
    home: Home, images: Path, embedder: FakeEmbedder, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(tables, "EMBEDDING_GROUP_ROWS", rows)
    monkeypatch.setattr(embeddings_table, "GROUP_IMAGES", 4)
    monkeypatch.setattr(embeddings_table, "CHECKPOINT_IMAGES", 2)
    paths = put_pictures(images, range(25))
    refresh(home, embedder)
    for seed in range(0, 25, 2):
        (images / paths[seed]).rename(images / f"new {paths[seed]}")
    refresh(home, embedder)
    assert embedder.embedded == 25
    names = {path if seed % 2 else f"new {path}": seed for seed, path in enumerate(paths)}
    found = embedding_rows(home, embedder.space.id)
    assert {path: row["embedding"] for path, row in found.items()} == {
        path: expected_vector(seed) for path, seed in names.items()
    }


# Images that cannot be embedded


def test_a_truncated_image_is_decoded_only_once(
    home: Home, images: Path, embedder: FakeEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(images, path_in("00", ending=".jpg"), half_a_picture())
    assert refresh(home, embedder).failed == 1
    monkeypatch.setattr(image_reader, "decode", lambda *_, **__: pytest.fail("it was decoded again"))
    put(images, path_in("01", ending=".jpg"), half_a_picture())
    report = refresh(home, embedder)
    assert report.failed == 0
    assert {row["status"] for row in embedding_rows(home, embedder.space.id).values()} == {"truncated"}
    assert len(embedding_rows(home, embedder.space.id)) == 2


def test_a_vanished_file_has_a_row_and_is_tried_again(home: Home, images: Path, embedder: FakeEmbedder) -> None:
    put_pictures(images, range(3))
    refresh_manifest(home)
    (images / "001.png").rename(images / ".away")
    report = refresh_embeddings(home, embedder)
    assert (report.embedded, report.failed) == (2, 1)
    assert embedding_rows(home, embedder.space.id)["001.png"]["status"] == "vanished"
    (images / ".away").rename(images / "001.png")
    assert refresh_embeddings(home, embedder).embedded == 1
    assert embedding_rows(home, embedder.space.id)["001.png"]["embedding"] == expected_vector(1)


def test_an_exact_duplicate_replaces_a_vanished_file(home: Home, images: Path, embedder: FakeEmbedder) -> None:
    for path in ("a.png", "b.png"):
        put(images, path, picture_bytes(1))
    refresh_manifest(home)
    (images / "a.png").unlink()
    assert refresh_embeddings(home, embedder).embedded == 1


def test_content_changed_since_it_was_listed_is_never_stored_under_the_old_hash(
    home: Home, images: Path, embedder: FakeEmbedder
) -> None:
    put_pictures(images, [1])
    refresh_manifest(home)
    put(images, "001.png", picture_bytes(2))
    refresh_embeddings(home, embedder)
    (row,) = embedding_rows(home, embedder.space.id).values()
    assert (row["status"], row["embedding"]) == ("vanished", None)
    assert "changed after it was listed" in row["error"]
    refresh(home, embedder)
    assert embedding_rows(home, embedder.space.id)["001.png"]["embedding"] == expected_vector(2)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_an_image_without_a_direction_has_a_row(home: Home, images: Path, value: float) -> None:
    put_pictures(images, range(5))
    embedder = FailingEmbedder([2], value)
    report = refresh(home, embedder)
    assert (report.embedded, report.failed) == (4, 1)
    row = embedding_rows(home, embedder.space.id)["002.png"]
    assert (row["status"], row["embedding"]) == ("unsupported", None)
    assert "zero or non-finite vector" in row["error"]
    assert refresh(home, embedder).failed == 0


def test_one_image_without_a_direction_is_no_error_of_the_model(home: Home, images: Path) -> None:
    put_pictures(images, [2])
    assert refresh(home, FailingEmbedder([2], np.nan)).failed == 1


def test_a_model_without_usable_vectors_stops_the_run(home: Home, images: Path, embedder: FakeEmbedder) -> None:
    put_pictures(images, range(3))
    refresh(home, embedder)
    put_pictures(images, range(10, 14))
    refresh_manifest(home)
    before = stamps(home.warehouse)
    with pytest.raises(ModelError, match=r"fake gave only zero or non-finite vectors for 4 images in succession"):
        refresh_embeddings(home, FailingEmbedder(range(20), np.nan))
    assert stamps(home.warehouse) == before
    assert refresh_embeddings(home, embedder).embedded == 4


# Stopped and killed runs


class Breaking(FakeEmbedder):
    """Raises an error instead of embedding the batch after `last`."""

    def __init__(self, last: int, error: BaseException) -> None:
        super().__init__()
        self.last = last
        self.error = error

    def embed(self, batch: np.ndarray) -> np.ndarray:
        if len(self.batches) == self.last:
            raise self.error
        return super().embed(batch)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("CUDA out of memory")])
def test_a_stopped_run_is_continued(home: Home, images: Path, embedder: FakeEmbedder, error: BaseException) -> None:
    put_pictures(images, range(40))
    refresh_manifest(home)
    broken = Breaking(3, error)
    with pytest.raises(type(error)):
        refresh_embeddings(home, broken)
    assert broken.embedded == 24
    report = refresh_embeddings(home, embedder)
    assert (report.embedded, embedder.embedded) == (16, 16)
    rows = embedding_rows(home, embedder.space.id)
    assert {path: row["embedding"] for path, row in rows.items()} == {
        f"{seed:03d}.png": expected_vector(seed) for seed in range(40)
    }


def test_kill_9_costs_at_most_two_checkpoints(home: Home, images: Path, embedder: FakeEmbedder) -> None:
    put_pictures(images, range(40))
    refresh_manifest(home)
    code = """
from pathlib import Path
from imgret_assets.domain.embeddings import embeddings_table
from imgret_assets.domain.storage.home import open_home
from imgret_assets.settings import load_settings
from imgret_tests.support.fake_model import FailingEmbedder, FakeEmbedder
class Slow(FakeEmbedder):
    def embed(self, batch):
        say("batch")
        wait()
        return super().embed(batch)
embeddings_table.CHECKPOINT_IMAGES = 8
embeddings_table.refresh_embeddings(open_home(load_settings({"home": sys.argv[1], "images": sys.argv[2]})), Slow())
"""
    with Process(code, [home.path, images]) as process:
        for _ in range(3):
            assert process.hear() == "batch"
            process.go()
        assert process.hear() == "batch"
        process.kill()
    report = refresh_embeddings(home, embedder)
    # Three batches were done; the last of them may just have been on its way to the disk.
    assert report.embedded in (16, 24)
    assert len(embedding_rows(home, embedder.space.id)) == 40


def test_a_full_disk_leaves_the_old_tables_and_keeps_the_vectors(
    home: Home, images: Path, embedder: FakeEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_pictures(images, range(10))
    refresh(home, embedder)
    put_pictures(images, range(20, 28))
    refresh_manifest(home)
    before = stamps(home.warehouse)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(pq.ParquetWriter, "write_table", full)
        with pytest.raises(DiskFullError, match=r"No room on the disk for .*shard=.*its previous content is intact"):
            refresh_embeddings(home, embedder)
    assert stamps(home.warehouse) == before
    assert embedder.embedded == 18
    assert refresh_embeddings(home, embedder).embedded == 0
    assert len(embedding_rows(home, embedder.space.id)) == 18


def test_a_concurrent_run_on_another_shard_may_move_a_pending_vector(
    home: Home, images: Path, embedder: FakeEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runs hold different locks: a pending vector may move to a table after it was found and before it is read."""
    put(images, path_in("00"), picture_bytes(1))
    refresh(home, embedder)
    (images / path_in("00")).unlink()
    put(images, path_in("01"), picture_bytes(1))
    put(images, path_in("02"), picture_bytes(1))
    refresh(home, embedder, ["00"])
    refresh_manifest(home)
    real = PendingVectors.known

    def known(self: PendingVectors, contents: Sequence[str]) -> set[str]:
        found = real(self, contents)
        monkeypatch.setattr(PendingVectors, "known", real)
        refresh_embeddings(home, embedder, ["02"])
        assert self.count() == 0
        return found

    monkeypatch.setattr(PendingVectors, "known", known)
    refresh_embeddings(home, embedder, ["01"])
    assert embedder.embedded == 1
    assert sorted(embedding_rows(home, embedder.space.id)) == sorted([path_in("01"), path_in("02")])


# Refused manifests and tables


def test_a_missing_manifest_is_named(home: Home, embedder: FakeEmbedder) -> None:
    refresh_manifest(home, ["00"])
    with pytest.raises(TableError, match=r"The manifest of shard 01 is missing .*materialise `raw_images`"):
        refresh_embeddings(home, embedder)


def test_a_manifest_of_another_root_is_refused(home: Home, images: Path, embedder: FakeEmbedder) -> None:
    refresh(home, embedder)
    elsewhere = open_home(replace(home.settings, images=ImageRoots.plain(images.parent)))
    with pytest.raises(StaleTableError, match=f"The manifest of shard 00 lists {images}.*files of {images.parent}"):
        refresh_embeddings(elsewhere, embedder)


def test_a_damaged_table_is_named_and_made_again(
    home: Home, images: Path, embedder: FakeEmbedder, caplog: pytest.LogCaptureFixture
) -> None:
    put_pictures(images, range(8))
    refresh(home, embedder)
    table = tables.embeddings_path(home.warehouse, embedder.space.id, "01")
    rows = tables.count_rows(table)
    table.write_bytes(table.read_bytes()[:-20])
    with pytest.raises(TableError, match=r"shard=01\.parquet can't be read.*run `imgret run`"):
        tables.read(table)
    assert refresh_embeddings(home, embedder).embedded == rows
    [warning] = caplog.messages
    assert "shard=01.parquet can't be read" in warning


def test_a_changed_bit_of_a_vector_is_found_and_the_vector_made_again(
    home: Home, images: Path, embedder: FakeEmbedder, caplog: pytest.LogCaptureFixture
) -> None:
    put_pictures(images, range(8))
    refresh(home, embedder)
    table = tables.embeddings_path(home.warehouse, embedder.space.id, "01")
    intact = tables.read(table)
    vector = intact["embedding"].combine_chunks().values.to_numpy()[:4].tobytes()
    data = bytearray(table.read_bytes())
    assert data.count(vector) == 1
    data[data.index(vector) + 1] ^= 0x40
    table.write_bytes(data)
    with pytest.raises(TableError, match=r"shard=01\.parquet can't be read"):
        tables.read(table)
    refresh_embeddings(home, embedder)
    assert tables.read(table).equals(intact)
    assert "made again" in caplog.text


# A home of an older decoder


def test_a_home_of_an_older_decoder_embeds_only_what_is_decoded_otherwise(
    home: Home, images: Path, embedder: FakeEmbedder
) -> None:
    put_pictures(images, range(6))
    odd = {path_in(shard, stem="deep", ending=".tif"): tiff(colours(), 16, 2, planar=True) for shard in home.shards}
    for path, data in odd.items():
        put(images, path, data)
    odd["clear.png"] = saved(Image.new("RGBA", (40, 30), (255, 0, 0, 90)), "PNG")
    put(images, "clear.png", odd["clear.png"])
    put(images, "half.jpg", half_a_picture())
    refresh(home, embedder)
    current = embedding_rows(home, embedder.space.id)
    assert {path for path, row in current.items() if row["engine"] in ("fake+tiff1", "fake+ground2")} == set(odd)
    as_of_older_decoder(home, space=embedder.space.id)
    report = refresh(home, embedder)
    assert (report.embedded, report.failed, report.outdated) == (2, 1, 6)
    assert "images are embedded again, once, because this version decodes them otherwise" in report.summary
    assert report.other_engines == []
    assert embedding_rows(home, embedder.space.id) == current
    report = refresh(home, embedder)
    assert (report.embedded, report.failed, report.outdated, written(report)) == (0, 0, 0, [])


def test_a_pending_vector_of_an_older_decoder_is_not_taken(home: Home, images: Path, embedder: FakeEmbedder) -> None:
    data = tiff(colours(), 16, 2, planar=True)
    put(images, "planar.tif", data)
    put(images, "half.jpg", half_a_picture())
    pending = PendingVectors(home.work, embedder.space.id)
    names = [hashlib.sha256(data).hexdigest(), hashlib.sha256(half_a_picture()).hexdigest()]
    pending.put_many(
        [
            (names[0], EmbeddingResult("ok", None, "fake", np.ones(48, np.float32))),
            (names[1], EmbeddingResult("unsupported", "an old reason", None, None)),
        ]
    )
    with sqlite3.connect(pending.path) as connection:
        connection.execute("PRAGMA user_version = 0")
    refresh(home, embedder)
    rows = embedding_rows(home, embedder.space.id)
    assert rows["planar.tif"]["engine"] == "fake+tiff1"
    assert rows["planar.tif"]["embedding"] != [1.0] * 48
    assert rows["half.jpg"]["status"] == "truncated"


def test_the_engine_is_recorded_with_the_first_vectors_that_it_made(home: Home, images: Path) -> None:
    refresh_manifest(home)
    refresh_embeddings(home, FakeEmbedder())
    record = read_record(home.path)
    assert record is None or record.engine is None
    put(images, "a.png", picture_bytes(1))
    refresh_manifest(home)
    refresh_embeddings(home, FakeEmbedder())
    record = read_record(home.path)
    assert record is not None
    assert (record.engine, record.precision) == ("fake", FakeEmbedder().engine.rpartition("-")[2])
