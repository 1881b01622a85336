"""What readers get while tables don't belong together, and what keeping it costs."""

import os
import shutil
from pathlib import Path

import pytest

from imgret_assets.domain.duplicates.duplicates_table import refresh_duplicates
from imgret_assets.domain.embeddings.embeddings_table import refresh_embeddings
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.operations import complete_state
from imgret_assets.domain.operations.complete_state import describe, keep_complete_state, served_home
from imgret_assets.domain.operations.export import export_graph
from imgret_assets.domain.review.review_tables import read_review_tables
from imgret_assets.domain.search.vector_cache import cached_vectors
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import StaleTableError
from imgret_tests.support.caught_up import catch_up
from imgret_tests.support.fake_model import FakeEmbedder
from imgret_tests.support.pictures import picture_bytes, write_pictures


@pytest.fixture
def embedder() -> FakeEmbedder:
    return FakeEmbedder()


@pytest.fixture
def kept(home: Home, embedder: FakeEmbedder, settled: None, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home whose complete state is kept, as a run keeps it before it changes the first table."""
    # The fake model has no record of its own that a home could remember.
    monkeypatch.setattr(complete_state, "space_of_last_run", lambda _: embedder.space)
    write_pictures(home.images, 12)
    catch_up(home, embedder)
    assert keep_complete_state(home)
    return home


def add_image(home: Home, number: int = 60) -> None:
    home.images.local(f"new{number}.png").write_bytes(picture_bytes(number))


def states(home: Home) -> list[Path]:
    return [folder for folder in (home.path / "complete").iterdir() if folder.is_dir()]


def test_tables_that_belong_together_are_read_themselves(kept: Home) -> None:
    assert served_home(kept).complete_state is None
    assert describe(served_home(kept)) == ""


@pytest.mark.parametrize("embedded", [False, True])
def test_after_a_failed_run_readers_get_the_last_complete_state(
    kept: Home, embedder: FakeEmbedder, tmp_path: Path, embedded: bool
) -> None:
    """The run has listed one new image and failed before or after it embedded it."""
    add_image(kept)
    refresh_manifest(kept)
    if embedded:
        refresh_embeddings(kept, embedder)
    with pytest.raises(StaleTableError):
        read_review_tables(kept)
    with pytest.raises(StaleTableError):
        export_graph(kept, embedder.space, tmp_path / "live", "csv")
    served = served_home(kept)
    assert served.complete_state is not None
    assert served.warehouse != kept.warehouse == served.live.warehouse
    assert describe(served).startswith(
        f"this is the last complete state, of {served.complete_state.at.astimezone():%Y-%m-%d}"
    )
    assert len(read_review_tables(served).images) == 12
    assert export_graph(served, embedder.space, tmp_path / "out", "csv").nodes == 12
    assert len(cached_vectors(served, embedder.space.id).paths) == 12, "which re-ranking reads"


def test_the_next_complete_state_takes_its_place(kept: Home, embedder: FakeEmbedder) -> None:
    for number in (60, 61, 62):
        add_image(kept, number)
        refresh_manifest(kept)
        assert not keep_complete_state(kept), "half a run is no complete state"
        catch_up(kept, embedder)
        assert served_home(kept).complete_state is None
        assert keep_complete_state(kept)
        assert len(states(kept)) == 2, "and the one before, which a reader may still read"
    refresh_duplicates(kept, embedder.space.id)
    add_image(kept, 63)
    refresh_manifest(kept)
    assert len(read_review_tables(served_home(kept)).images) == 15


def test_it_is_kept_by_links_and_once(kept: Home) -> None:
    (state,) = states(kept)
    files = [file for file in state.rglob("*") if file.is_file()]
    assert {file.relative_to(state) for file in files} >= {Path("duplicates/duplicates.parquet")}
    assert {file.stat().st_nlink for file in files} == {2}
    assert keep_complete_state(kept)
    assert states(kept) == [state]


def test_without_hard_links_nothing_is_kept_and_the_run_goes_on(
    kept: Home, embedder: FakeEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(kept.path / "complete")

    def refused(*_: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", refused)
    assert keep_complete_state(kept)
    assert states(kept) == []
    add_image(kept)
    refresh_manifest(kept)
    assert served_home(kept) == kept


def test_a_state_of_other_shards_or_of_another_root_is_not_read(kept: Home, tmp_path: Path) -> None:
    add_image(kept)
    refresh_manifest(kept)
    assert served_home(kept).complete_state is not None
    (tmp_path / "other").mkdir()
    moved = Home(
        complete_state=None,
        record=kept.record,
        settings=kept.settings.__class__(**{**vars(kept.settings), "images": tmp_path / "other"}),
    )
    assert served_home(moved).complete_state is None
