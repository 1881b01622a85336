"""When a search is approximate, and when a table of another one is made again."""

from dataclasses import replace

import pytest

from imgret_assets.domain.similarity.approximate import method
from imgret_assets.domain.similarity.approximate.method import CellOptions, answers_settings, reason_to_search_all
from imgret_assets.domain.storage.table_metadata import ComparedMetadata
from imgret_assets.settings import Settings, load_settings

MANY = 1_000_000
EXACT = ComparedMetadata(space="s", coverage="c")
APPROXIMATE = replace(EXACT, exact=False, method=method.METHOD, probes=32, cells=2000)


def settings_of(pair_search: str, probes: int = 32) -> Settings:
    env = {"IMGRET_ENV_FILE": "/dev/null", "IMGRET_PAIR_SEARCH": pair_search, "IMGRET_PROBES": str(probes)}
    return load_settings(env=env)


@pytest.mark.parametrize(
    ("pair_search", "row_count", "expected"),
    [
        ("approximate", method.LEAST_ROWS, True),
        ("approximate", method.LEAST_ROWS - 1, False),
        ("cascade", MANY, False),
        ("brute_force", MANY, False),
    ],
)
def test_only_the_setting_and_many_rows_make_a_search_approximate(
    pair_search: str, row_count: int, expected: bool
) -> None:
    assert method.is_approximate(pair_search, row_count) is expected


@pytest.mark.parametrize(("rows", "expected"), [(1, 1), (2, 2), (10_000, 200), (1_000_000, 2000), (10**12, 65_535)])
def test_the_number_of_cells_grows_with_the_root_of_the_rows(rows: int, expected: int) -> None:
    assert CellOptions(8).cell_count(rows) == expected
    assert CellOptions(8, cells=7).cell_count(rows) == min(7, rows)


def test_an_exact_table_is_good_for_every_setting() -> None:
    for pair_search in ("cascade", "brute_force", "approximate"):
        assert answers_settings(settings_of(pair_search), EXACT, MANY)


@pytest.mark.parametrize(
    ("settings", "row_count", "metadata", "reason"),
    [
        (settings_of("cascade"), MANY, APPROXIMATE, "the earlier table is approximate"),
        (settings_of("brute_force"), MANY, APPROXIMATE, "the earlier table is approximate"),
        (settings_of("approximate"), method.LEAST_ROWS - 1, APPROXIMATE, "the earlier table is approximate"),
        (settings_of("approximate", 16), MANY, APPROXIMATE, "with 32 probes"),
        (settings_of("approximate"), MANY, replace(APPROXIMATE, method="of another version"), "of another version"),
    ],
)
def test_an_approximate_table_is_good_only_where_such_a_one_is_made(
    settings: Settings, row_count: int, metadata: ComparedMetadata, reason: str
) -> None:
    assert reason in (reason_to_search_all(settings, metadata, row_count, 0) or "")
    assert not answers_settings(settings, metadata, row_count)


def test_an_approximate_table_of_the_same_method_is_good() -> None:
    assert answers_settings(settings_of("approximate"), APPROXIMATE, MANY)


@pytest.mark.parametrize("metadata", [EXACT, APPROXIMATE])
def test_few_new_images_complete_a_table_and_many_do_not(metadata: ComparedMetadata) -> None:
    settings = settings_of("approximate")
    # 4 times the work of 32 of 2,000 cells for all rows.
    most = 4 * 32 * MANY // 2000
    assert reason_to_search_all(settings, metadata, MANY, most) is None
    assert "would be compared exactly" in (reason_to_search_all(settings, metadata, MANY, most + 1) or "")
    assert reason_to_search_all(settings_of("cascade"), EXACT, MANY, most + 1) is None
