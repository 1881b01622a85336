"""The parts of a query, such as several images, and the one vector that they make.

Belongs here: what a query can be made of, combining vectors, refusing parts that contradict each other. Not here: the
vector of one part (`domain.search.query_embedding`), finding the answer (`domain.search.find_similar`).

The formula is Rocchio's (J. J. Rocchio, "Relevance feedback in information retrieval", in G. Salton, The SMART
Retrieval System, 1971; Manning, Raghavan and Schuetze, "Introduction to Information Retrieval", 2008, section 9.1.1):
the mean of what the hits shall resemble, less a share of the mean of what they shall not resemble.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from imgret_assets.domain.images.crop import Crop
from imgret_assets.domain.search.query import QueryImage
from imgret_assets.errors import QueryError

# Share of the mean of `less` parts that is subtracted from the mean of the others; measured in docs/guide/queries.md.
LESS_SHARE = 0.25
# Names of more parts would make the name of a query unreadable.
_MAX_NAMES = 3
_MAX_TEXT_NAME = 80
# A text of more characters is a mistake; a text tower reads a hundred words or less.
MAX_TEXT_CHARACTERS = 10_000
# A combined vector that is shorter than this, of unit vectors, has no direction but that of rounding.
_MIN_LENGTH = 1e-3


@dataclass(frozen=True)
class QueryText:
    """Words that describe images; only for embedding spaces whose model has a text tower."""

    text: str

    @property
    def name(self) -> str:
        """The text in one line; the beginning of a long one."""
        line = " ".join(self.text.split())
        return line if len(line) <= _MAX_TEXT_NAME else f"{line[:_MAX_TEXT_NAME]}…"


@dataclass(frozen=True)
class StoredImage:
    """An image of the graph by its path: its stored vector is used, and its file is not read."""

    path: str

    @property
    def name(self) -> str:
        """The path."""
        return self.path


@dataclass(frozen=True, eq=False)
class QueryVector:
    """A vector of the graph's space that the caller has: float (dim,), finite, of any length but zero."""

    name: str
    vector: np.ndarray = field(repr=False)


Source = QueryImage | StoredImage | QueryText | QueryVector


@dataclass(frozen=True)
class QueryPart:
    """One part of a query.

    Attributes:
        source: an image file's bytes (`domain.search.query.read_query`), an image of the graph, a text or a vector.
        less: the hits shall not resemble it.
        weight: among the parts on its side (those with the same `less`), greater than zero.
        crop: the part of the image that is embedded; the whole image if None. Only for a `QueryImage`.
    """

    source: Source
    less: bool = False
    weight: float = 1.0
    crop: Crop | None = None

    @property
    def name(self) -> str:
        """Name of the source, for messages."""
        return self.source.name

    def as_json(self) -> dict[str, Any]:
        """Return what the answer says of this part: name, side and weight, a text, and the crop if there is one."""
        crop = {} if self.crop is None else {"crop": str(self.crop)}
        text = {"text": self.source.text} if isinstance(self.source, QueryText) else {}
        return {"name": self.name, "less": self.less, "weight": self.weight, **text, **crop}


def check_parts(parts: Sequence[QueryPart], contents: Mapping[str, str] | None = None) -> None:
    """Refuse parts that make no query.

    Args:
        parts: of the query.
        contents: sha256 of the images of `StoredImage` parts, by path.

    Raises:
        QueryError: no part is of the side that the hits shall resemble, the same image or text is on both sides, a
            weight is not greater than zero, a crop is of something else than an image file, or a text is empty or has
            more than `MAX_TEXT_CHARACTERS` characters.
    """
    if not any(not part.less for part in parts):
        raise QueryError(
            "The query has nothing that the hits shall resemble", expected="at least one image or text that is no less"
        )
    for part in parts:
        if not (math.isfinite(part.weight) and part.weight > 0):
            raise QueryError(f"The weight of {part.name} is {part.weight:g}", expected="a number greater than 0")
        if part.crop is not None and not isinstance(part.source, QueryImage):
            raise QueryError(f"{part.name} has a crop", expected="a crop of an image file only")
        if isinstance(part.source, QueryText):
            _check_text(part.source.text)
    more = {key for part in parts if not part.less for key in _keys(part, contents or {})}
    for part in parts:
        if part.less and more.intersection(_keys(part, contents or {})):
            raise QueryError(
                f"{part.name} is on both sides: the hits can't be more like it and less like it",
                remedy="name it once",
            )


def _check_text(text: str) -> None:
    if not text.strip():
        raise QueryError("The text of the query is empty", expected="words, such as `a red car in a forest`")
    if len(text) > MAX_TEXT_CHARACTERS:
        raise QueryError(
            f"The text of the query has {len(text):,} characters", expected=f"at most {MAX_TEXT_CHARACTERS:,}"
        )


def _keys(part: QueryPart, contents: Mapping[str, str]) -> set[tuple[str, str, Crop | None]]:
    """Return what makes a part the same as another: content or path with its crop, or the text."""
    match part.source:
        case QueryImage(path=path, sha256=sha256):
            return {("sha256", sha256, part.crop), *({("path", path, part.crop)} if path is not None else ())}
        case StoredImage(path=path):
            return {("path", path, None), *({("sha256", contents[path], None)} if path in contents else ())}
        case QueryText(text=text):
            return {("text", " ".join(text.split()).casefold(), None)}
        case _:
            return set()


def combine_vectors(parts: Sequence[QueryPart], vectors: Sequence[np.ndarray]) -> np.ndarray:
    """Return the vector of a query: the weighted mean of unit vectors, less `LESS_SHARE` of the mean of `less` parts.

    With u the unit vectors and w the weights of the parts, its direction is that of

        sum(w u) / sum(w) over the parts that are not less  -  LESS_SHARE * sum(w u) / sum(w) over those that are.

    Its length is the weighted mean of the vectors' lengths over the parts that are not less, so that distances and dot
    products with stored vectors keep their meaning. The vector of a single part is returned unchanged.

    Args:
        parts: at least one that is not less.
        vectors: the vector of each part, float (dim,), finite, of any length but zero.

    Returns:
        float32 (dim,).

    Raises:
        QueryError: the two sides cancel out.
    """
    if len(vectors) == 1:
        return np.asarray(vectors[0], np.float32)
    rows = np.asarray(vectors, np.float64)
    lengths = np.linalg.norm(rows, axis=1)
    weights = np.array([part.weight for part in parts], np.float64)
    is_less = np.array([part.less for part in parts])
    unit = rows / lengths[:, np.newaxis]
    more_weights = weights * ~is_less / weights[~is_less].sum()
    direction = more_weights @ unit
    if is_less.any():
        direction -= LESS_SHARE * (weights * is_less / weights[is_less].sum()) @ unit
    length = float(np.linalg.norm(direction))
    if length < _MIN_LENGTH:
        raise QueryError(
            "The parts of the query cancel out: their combined vector has no direction",
            remedy="leave out one of the images",
        )
    return (direction * (float(more_weights @ lengths) / length)).astype(np.float32)


def query_name(parts: Sequence[QueryPart]) -> str:
    """Return a name for the whole query: the names of the first parts that the hits shall resemble."""
    names = [part.name for part in parts if not part.less]
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return " + ".join(names[:_MAX_NAMES]) + more


def is_plain(parts: Sequence[QueryPart]) -> bool:
    """Return True if the parts are one whole image, which needs no description beyond its name."""
    return len(parts) == 1 and isinstance(parts[0].source, QueryImage) and parts[0].crop is None
