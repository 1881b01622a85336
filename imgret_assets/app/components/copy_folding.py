"""Near copies among the hits, folded into the best one of them.

Belongs here: which hit stands for which. Not here: what is a copy (`domain.duplicates.duplicates_table`), showing
(`app.views.search_page`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from imgret_assets.domain.search.query import Hit


@dataclass(frozen=True)
class FoldedHit:
    """A hit and the copies of the same picture that come after it, by path."""

    hit: Hit
    copies: tuple[str, ...] = ()


def fold_copies(hits: Sequence[Hit], copies: Iterable[tuple[str, str]]) -> list[FoldedHit]:
    """Each picture once, at its best hit's place.

    Args:
        hits: best first.
        copies: pairs of paths that are copies of one another; also such as are no hits, which join those that are.
    """
    root: dict[str, str] = {}

    def find(path: str) -> str:
        while root.get(path, path) != path:
            path = root[path]
        return path

    for one, other in copies:
        root[find(one)] = find(other)
    families: dict[str, list[Hit]] = {}
    for hit in hits:
        families.setdefault(find(hit.path), []).append(hit)
    return [FoldedHit(family[0], tuple(hit.path for hit in family[1:])) for family in families.values()]
