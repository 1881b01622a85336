"""Pages of a listing of objects: each begins where the one before ended, so that a listing can be interrupted.

Belongs here: where a page ends, and what is listed where an object's key can't be a path. Not here: calls to a store
(`domain.objects.stores`), which objects are images (`domain.images.files`).
"""

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from imgret_assets.domain.objects.stores import ObjectError, ObjectFacts, list_level, list_objects
from imgret_assets.object_url import ObjectUrl

PAGE_OBJECTS = 10_000


@dataclass(frozen=True)
class ObjectPage:
    """A part of the objects below a prefix.

    Attributes:
        objects: sorted by their keys.
        remaining: prefixes that are still to be listed, each with the key after which to begin, or with an empty text.
    """

    objects: Sequence[ObjectFacts]
    remaining: Sequence[tuple[ObjectUrl, str]] = ()


def read_page(prefix: ObjectUrl, after: str) -> ObjectPage:
    """List some of the objects below a prefix.

    Objects whose names differ only in their endings, such as a camera raw file and its JPEG, are in one page.

    Args:
        prefix: the bucket or a prefix.
        after: the key after which to begin; empty for the first page.

    Raises:
        ObjectError: the prefix can't be listed. EINVAL: an object directly below it has a key that can't be a path.
    """
    try:
        objects, any_more = list_objects(prefix, after=after, limit=PAGE_OBJECTS)
    except ObjectError as error:
        if error.errno != errno.EINVAL:
            raise
        return _level(prefix, after)
    if not any_more:
        return ObjectPage(objects)
    shown = _without_last_stem(objects)
    return ObjectPage(shown, [(prefix, shown[-1].url.key)])


def _without_last_stem(objects: Sequence[ObjectFacts]) -> Sequence[ObjectFacts]:
    """Leave out the last objects with the same name before the ending: more of them may be in the next page."""
    last = _stem(objects[-1])
    kept = len(objects)
    while kept and _stem(objects[kept - 1]) == last:
        kept -= 1
    return objects[:kept] or objects


def _stem(facts: ObjectFacts) -> str:
    return str(PurePosixPath(facts.url.key).with_suffix(""))


def _level(prefix: ObjectUrl, after: str) -> ObjectPage:
    """List what is directly below a prefix, of which some object has a key that can't be a path.

    The library gives a whole listing up for one such key. Prefix by prefix, only that one is lost which contains it.
    """
    objects, prefixes = list_level(prefix)
    remaining: list[tuple[ObjectUrl, str]] = []
    for below in prefixes:
        if after.startswith(f"{below.key}/"):
            remaining.append((below, after))
        elif f"{below.key}/" > after:
            remaining.append((below, ""))
    return ObjectPage([each for each in objects if each.url.key > after], remaining)
