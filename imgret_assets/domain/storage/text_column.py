"""Texts of all images in an Arrow array that reads like a list of str.

A Python list of ten million paths takes 1 GB more than the paths themselves. Belongs here: the type. Not here: which
texts (`domain.embeddings.table_reader`).
"""

from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Texts that are made str at a time.
_BATCH = 1 << 16


class TextColumn(Sequence[str]):
    """A sequence of str. It equals any sequence of the same texts.

    Args:
        array: the texts, `string` or `large_string`, without nulls.
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, array: pa.Array) -> None:
        self.array = array

    @classmethod
    def of(cls, texts: Any) -> "TextColumn":
        """Return texts as a column: a column itself, an Arrow array without a copy, a sequence of str as a new one."""
        if isinstance(texts, cls):
            return texts
        if isinstance(texts, pa.ChunkedArray):
            # Of no chunks it would be an array of chunks again.
            return cls(texts.combine_chunks() if texts.num_chunks else pa.array([], texts.type))
        return cls(texts if isinstance(texts, pa.Array) else pa.array(texts, pa.string()))

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self.array)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "TextColumn": ...
    def __getitem__(self, index: int | slice) -> "str | TextColumn":
        """Return one text, or those of a slice.

        Raises:
            IndexError: there is no such text.
        """
        found = self.array[index]
        return TextColumn(found) if isinstance(index, slice) else found.as_py()

    def __iter__(self) -> Iterator[str]:
        """Yield each text."""
        for start in range(0, len(self.array), _BATCH):
            yield from self.array.slice(start, _BATCH).to_pylist()

    def __eq__(self, other: object) -> bool:
        """Return whether the other is a sequence of the same texts."""
        if isinstance(other, TextColumn) and self.array.type == other.array.type:
            return self.array.equals(other.array)
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(ours == theirs for ours, theirs in zip(self, other, strict=True))

    def __arrow_array__(self, type: pa.DataType | None = None) -> pa.Array:
        """Return the array, which is what `pyarrow.array` asks for."""
        return self.array if type is None or type == self.array.type else self.array.cast(type)

    def __repr__(self) -> str:
        """Return the number of texts and the first of them."""
        return f"TextColumn({len(self)}: {self.array.slice(0, 3).to_pylist()})"

    def take(self, rows: np.ndarray | Sequence[int]) -> "TextColumn":
        """Return the texts of some rows."""
        return TextColumn(self.array.take(pa.array(rows)))

    def places_of(self, texts: Any) -> np.ndarray:
        """Return the place of each text among these, int64; -1 for one that is not among them.

        Args:
            texts: Arrow array of texts.
        """
        options = pc.SetLookupOptions(value_set=self.array.cast(texts.type))
        return pc.call_function("index_in", [texts], options).fill_null(-1).to_numpy().astype(np.int64)


def equal_texts(texts: TextColumn, others: TextColumn, places: np.ndarray) -> np.ndarray:
    """Return for each text, bool, whether it equals the one at its place among others; false where that is -1."""
    is_equal = places >= 0
    rows = np.flatnonzero(is_equal)
    taken = others.take(places[rows]).array, texts.take(rows).array
    is_equal[rows] = pc.call_function("equal", [each.cast(pa.large_string()) for each in taken]).to_numpy(
        zero_copy_only=False
    )
    return is_equal
