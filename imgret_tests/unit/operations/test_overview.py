"""What a home holds, from tables that are there, behind, missing or damaged."""

import pytest

from imgret_assets.domain.embeddings.table_checks import check_unusable_share
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.operations.backlog import CURRENT, DAMAGED, MISSING, OLDER
from imgret_assets.domain.operations.overview import read_overview
from imgret_assets.domain.similarity.neighbours_table import refresh_neighbours
from imgret_assets.domain.similarity.pairs_table import refresh_pairs
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home
from imgret_tests.support.chain import Chain
from imgret_tests.support.odd_files import saved
from imgret_tests.support.pictures import picture, picture_bytes, write_pictures
from imgret_tests.support.tree import put


def states(home: Home, space: str | None) -> dict[str, str]:
    return {table.asset: table.state for table in read_overview(home, space).tables}


@pytest.fixture
def chain(home: Home) -> Chain:
    write_pictures(home.images, 12)
    home.images.local("broken.png").write_bytes(b"no picture")
    home.images.local("half.png").write_bytes(picture_bytes(3)[:300])
    chain = Chain(home.settings)
    chain.run(assets=["raw_images", "embeddings"])
    return chain


def test_nothing_yet(home: Home) -> None:
    found = read_overview(home, None)
    assert (found.files, found.bytes, found.unusable) == (0, 0, [])
    assert [(table.asset, table.state) for table in found.tables] == [("raw_images", MISSING)]


def test_files_bytes_and_reasons(chain: Chain, home: Home) -> None:
    found = read_overview(home, chain.space.id)
    assert found.files == 14
    assert found.bytes == sum(file.stat().st_size for file in home.images.folder.rglob("*.png"))
    assert {(reason.status, reason.count) for reason in found.unusable} == {("not_an_image", 1), ("truncated", 1)}
    [(path, error)] = next(reason.examples for reason in found.unusable if reason.status == "truncated")
    assert path == "half.png"
    assert error


def test_a_raw_file_beside_its_jpeg_is_not_unusable(home: Home) -> None:
    put(home.images, "a.nef", b"FUJIFILMCCD-RAW")
    put(home.images, "a.jpg", saved(picture(1), "JPEG"))
    refresh_manifest(home)
    found = read_overview(home, None)
    assert (found.files, found.unusable, found.raw_of_images) == (2, [], 1)
    finding = check_unusable_share(home, None, limit=0.1)
    assert finding.passed
    assert (finding.facts["unusable"], finding.facts["status_raw_of_image"]) == (0, 1)


def test_tables_are_current_older_missing_or_damaged(chain: Chain, home: Home) -> None:
    space = chain.space.id
    refresh_pairs(home, space, threshold=0.8)
    refresh_neighbours(home, space)
    found = states(home, space)
    assert (found["embeddings"], found["similarity_pairs"], found["nearest_neighbours"]) == (CURRENT, CURRENT, CURRENT)
    assert found["duplicates"] == MISSING
    home.images.local("new.png").write_bytes(picture_bytes(99))
    chain.run(assets=["raw_images", "embeddings"])
    refresh_pairs(home, space, threshold=0.8)
    tables.nearest_path(home.warehouse, space).write_bytes(b"damaged")
    tables.duplicates_path(home.warehouse).parent.mkdir(parents=True)
    tables.write(tables.duplicates_path(home.warehouse), tables.read(tables.pairs_path(home.warehouse, space)), {})
    found = states(home, space)
    assert (found["similarity_pairs"], found["nearest_neighbours"], found["duplicates"]) == (CURRENT, DAMAGED, OLDER)
    tables.manifest_path(home.warehouse, home.shards[0]).unlink()
    assert states(home, space)["raw_images"] == MISSING
