"""Batches of a sequence.

Belongs here: slicing. Not here: the work on a batch.
"""

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Yield slices of `size` items in their order; the last one is shorter where the items don't divide evenly.

    Raises:
        ValueError: `size` is below 1.
    """
    if size < 1:
        raise ValueError(f"size is {size}; expected at least 1")
    return (items[start : start + size] for start in range(0, len(items), size))
