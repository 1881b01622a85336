"""Whether an image file is already in the library, before it is imported.

Belongs here: the same bytes, near-duplicates, and images above a score that the caller chooses. Not here: the
duplicates within a library (`domain.duplicates`), comparing two files (`domain.duplicates.pair_comparison`).
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

from imgret_assets.domain.duplicates.duplicate_search import EXACT, NEAR
from imgret_assets.domain.duplicates.pair_comparison import FileComparer
from imgret_assets.domain.graph.connection import Database
from imgret_assets.domain.images.file_reading import read_image_file
from imgret_assets.domain.images.image_status import UnusableImageError
from imgret_assets.domain.search.find_similar import find_similar
from imgret_assets.domain.search.query import Hit, Query, QueryImage
from imgret_assets.domain.storage.home import Home

SIMILAR = "similar"
# Copies of half the size have a cosine of 0.7 and more with the original.
_CANDIDATES, _MIN_COSINE = 5, 0.5


@dataclass(frozen=True)
class Checked:
    """A file and the image of the library that it is.

    Attributes:
        file: as the caller named it.
        known_as: path of the image in the library; None if the file is new.
        kind: `exact` (the same bytes), `near` (a near-duplicate), `similar` (a score that the caller chose); None for a
            new file.
        score: raw cosine of the two vectors; of a new file that with its nearest image; None if there is none.
    """

    file: str
    known_as: str | None = None
    kind: str | None = None
    score: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)


def check_known(home: Home, image: QueryImage, *, database: Database, min_score: float | None = None) -> Checked:
    """Return whether a file is already in the library.

    A file that lies in the library itself is compared with the others.

    Args:
        home: the home.
        image: the file.
        database: the graph.
        min_score: an image of at least this raw cosine counts, too.

    Raises:
        ImageError: the file can't be used.
        DatabaseError: there is no graph, or it is being rebuilt.
        SettingError: the score is out of range.
    """
    query = Query(top_k=_CANDIDATES, min_score=min_score, exclude_self=False).check()
    # Without its path, which the query would leave out instead of the copies.
    answer = find_similar(home, replace(image, path=None), replace(query, min_score=None), database=database)
    hits = [hit for hit in answer.results if hit.path != image.path]
    copies = sorted(set(answer.query_paths) - {image.path})
    if copies:
        return Checked(image.name, copies[0], EXACT, 1.0)
    if not hits:
        return Checked(image.name)
    near = _find_near(home, image, hits)
    if near is not None:
        return Checked(image.name, near.path, NEAR, near.score)
    best = hits[0]
    if min_score is not None and best.score >= min_score:
        return Checked(image.name, best.path, SIMILAR, best.score)
    return Checked(image.name, score=best.score)


def _find_near(home: Home, image: QueryImage, hits: list[Hit]) -> Hit | None:
    """Return the best hit that is a near-duplicate of a file; hits whose files can't be read are left out."""
    limits = {"max_pixels": home.settings.max_pixels}
    comparer: FileComparer | None = None
    for hit in hits:
        if hit.score < _MIN_COSINE:
            return None
        try:
            data = read_image_file(home.images / hit.path, max_bytes=home.settings.max_bytes)
            comparer = comparer or FileComparer(image.data, **limits)
            if comparer.is_near(data):
                return hit
        except (OSError, UnusableImageError):
            continue
    return None
