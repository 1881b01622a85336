"""A sequence in pieces of a size.

Belongs here: cutting. Not here: what a piece is for.
"""

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Slices of `size` items in their order, the last one of what is left; none where there are no items.

    Raises:
        ValueError: `size` is below 1.
    """
    if size < 1:
        raise ValueError(f"size is {size}; expected at least 1")
    return (items[start : start + size] for start in range(0, len(items), size))
