"""Texts in an Arrow array, which read like a list of str."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgret_assets.domain.storage.text_column import TextColumn, equal_texts

TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), max_size=20)


@given(texts=TEXTS, kind=st.sampled_from([pa.string(), pa.large_string()]))
def test_it_reads_like_the_list(texts: list[str], kind: pa.DataType) -> None:
    column = TextColumn(pa.array(texts, kind))
    assert list(column) == texts
    assert len(column) == len(texts)
    assert column == texts
    assert column == TextColumn.of(texts)
    assert column != [*texts, "more"]
    assert column[1:3] == texts[1:3]
    assert [column[row] for row in range(len(texts))] == texts
    assert pa.array(column, pa.string()).to_pylist() == texts
    assert column.take(np.arange(len(texts))[::-1]) == texts[::-1]
    with pytest.raises(IndexError):
        column[len(texts)]


@given(texts=TEXTS.map(lambda texts: sorted(set(texts))), wanted=TEXTS)
def test_places_are_found_and_minus_1_is_for_others(texts: list[str], wanted: list[str]) -> None:
    places = TextColumn.of(texts).places_of(pa.array(wanted, pa.string()))
    assert places.tolist() == [texts.index(text) if text in texts else -1 for text in wanted]


@given(texts=TEXTS, others=TEXTS, data=st.data())
def test_texts_equal_those_at_their_places(texts: list[str], others: list[str], data: st.DataObject) -> None:
    places = np.array([data.draw(st.integers(-1, len(others) - 1)) for _ in texts], np.int64)
    is_equal = equal_texts(TextColumn.of(texts), TextColumn(pa.array(others, pa.large_string())), places)
    assert is_equal.tolist() == [
        place >= 0 and text == others[place] for text, place in zip(texts, places.tolist(), strict=True)
    ]


def test_the_order_of_paths_is_that_of_python() -> None:
    """Arrow compares bytes of UTF-8, Python code points: the hash over sorted paths must not depend on which."""
    paths = ["ｚ.jpg", "😀.jpg", "a.jpg", "Z.jpg", "ä.jpg", "a/b.jpg", "a b.jpg"]
    order = pa.compute.sort_indices(pa.array(paths))  # type: ignore[attr-defined]
    assert [paths[row] for row in order.to_pylist()] == sorted(paths)
