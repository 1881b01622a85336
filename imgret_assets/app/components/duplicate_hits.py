"""Hits that are duplicates of each other, shown as one.

Belongs here: which hit stands for which. Not here: which images are duplicates (`domain.duplicates.duplicates_table`),
drawing (`app.views.search_page`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from imgret_assets.domain.search.query import Hit


@dataclass(frozen=True)
class GroupedHit:
    """A hit and the paths of its duplicates among the lower hits."""

    hit: Hit
    duplicates: tuple[str, ...] = ()


def group_duplicates(hits: Sequence[Hit], duplicate_pairs: Iterable[tuple[str, str]]) -> list[GroupedHit]:
    """Return each set of duplicates once, at the place of its best hit.

    Args:
        hits: best first.
        duplicate_pairs: pairs of paths of duplicates; paths that are no hits connect those that are.
    """
    parents: dict[str, str] = {}

    def root(path: str) -> str:
        while parents.get(path, path) != path:
            path = parents[path]
        return path

    for path, duplicate in duplicate_pairs:
        parents[root(path)] = root(duplicate)
    sets: dict[str, list[Hit]] = {}
    for hit in hits:
        sets.setdefault(root(hit.path), []).append(hit)
    return [GroupedHit(best, tuple(hit.path for hit in lower)) for best, *lower in sets.values()]
