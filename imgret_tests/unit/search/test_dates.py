"""Tests of dates in filters: what each text covers, and what is none."""

import pytest

from imgret_assets.domain.search.dates import first_second, last_second
from imgret_assets.domain.search.query import Query
from imgret_assets.errors import SettingError


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2024", "2024-01-01T00:00:00", "2024-12-31T23:59:59"),
        ("2024-02", "2024-02-01T00:00:00", "2024-02-29T23:59:59"),
        ("2023-2", "2023-02-01T00:00:00", "2023-02-28T23:59:59"),
        ("2024-12", "2024-12-01T00:00:00", "2024-12-31T23:59:59"),
        ("2024-05-31", "2024-05-31T00:00:00", "2024-05-31T23:59:59"),
        ("2024-05-31 10:20", "2024-05-31T10:20:00", "2024-05-31T10:20:59"),
        (" 2024-05-31T10:20:30 ", "2024-05-31T10:20:30", "2024-05-31T10:20:30"),
        ("9999", "9999-01-01T00:00:00", "9999-12-31T23:59:59"),
        ("9999-12-31", "9999-12-31T00:00:00", "9999-12-31T23:59:59"),
        ("0001", "0001-01-01T00:00:00", "0001-12-31T23:59:59"),
    ],
)
def test_a_text_covers_all_that_it_names(text: str, first: str, last: str) -> None:
    assert first_second(text, "since").isoformat() == first
    assert last_second(text, "until").isoformat() == last


@pytest.mark.parametrize(
    "text",
    [
        *("", "0000", "24", "2024-13", "2023-02-29", "2024-05-31 25:00", "2024-05-31 10", "2024:05:31", "31.5.2024"),
        *("2024-05-31T10:20:30Z", "2024-05-31T10:20:30+02:00", "2024-05-31 10:20:30.5", "٢٠٢٤", "last year"),
    ],
)
def test_what_is_no_date_is_an_error_that_names_the_forms(text: str) -> None:
    for function in (first_second, last_second):
        with pytest.raises(SettingError, match=r"since is .*Expected: a date.*without a zone.*2024-05-31 10:20"):
            function(text, "since")


def test_a_query_is_checked_before_anything_is_searched() -> None:
    with pytest.raises(SettingError, match="until is 'soon'"):
        Query(until="soon").check()
    with pytest.raises(SettingError, match="since is 2024-06 and until is 2024-05"):
        Query(since="2024-06", until="2024-05").check()
    assert Query(since="2024-05-31", until="2024-05").check().has_shot_filters
    assert Query(camera="").has_shot_filters
    assert not Query(label="a").has_shot_filters


def test_filters_have_the_bounds_and_the_camera_with_single_spaces() -> None:
    filters = Query(since="2024", until="2024", camera=" Canon  EOS 5D ").filters
    assert (filters["since"].isoformat(), filters["until"].isoformat()) == (
        "2024-01-01T00:00:00",
        "2024-12-31T23:59:59",
    )
    assert filters["camera"] == "Canon EOS 5D"
    assert set(Query().filters.values()) == {None}
