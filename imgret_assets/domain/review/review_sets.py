"""Sets of images to decide about.

Belongs here: their records. Not here: putting them together (`domain.review.queue`).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from imgret_assets.domain.review.decisions import Decision, File, Judgement, keep_all, keep_one
from imgret_assets.errors import DecisionError


@dataclass(frozen=True, slots=True)
class Member:
    """A file of a set.

    Attributes:
        file: its path and content.
        width, height: in pixels, after EXIF rotation.
        bytes: length of the file.
        kind: `exact`, `near` or `similar` to the kept one; None for that one itself.
        distance: bits of 256 in which the perceptual hashes differ; None where that was not measured.
        correlation: of small grey pictures, in [-1, 1]; None likewise.
        cosine: raw cosine to the kept one, in [-1, 1]; 1 where they have the same bytes; None likewise.
        protected: it is in a protected folder.
        removal: the standing decision that makes it superfluous; None where there is none.
        kept: a standing decision says that it is no duplicate of another one of the set.
        proposed: it is proposed for removal.
    """

    file: File
    width: int
    height: int
    bytes: int
    kind: str | None = None
    distance: int | None = None
    correlation: float | None = None
    cosine: float | None = None
    protected: bool = False
    removal: Decision | None = None
    kept: bool = False
    proposed: bool = False

    @property
    def path(self) -> str:
        """POSIX, under the image root."""
        return self.file.path

    @property
    def sha256(self) -> str:
        """Of its bytes."""
        return self.file.sha256


@dataclass(frozen=True)
class ReviewSet:
    """Files to decide about together, the one to keep first.

    Attributes:
        kind: `exact`, `near` or `similar`.
        members: the one to keep, then the others, nearest first.
        reason: why that one is kept, such as `4000 x 3000, most pixels`.
    """

    kind: str
    members: tuple[Member, ...]
    reason: str

    @property
    def keep(self) -> Member:
        """The file that is proposed to be kept."""
        return self.members[0]

    @property
    def copies(self) -> tuple[Member, ...]:
        """The other files."""
        return self.members[1:]

    @property
    def proposed_bytes(self) -> int:
        """What the files that are proposed for removal take."""
        return sum(one.bytes for one in self.members if one.proposed)

    @property
    def weakest_cosine(self) -> float | None:
        """The smallest cosine to the kept one; None where none was measured."""
        return min((one.cosine for one in self.copies if one.cosine is not None), default=None)

    def suggested(self) -> list[Judgement]:
        """What is decided by accepting the proposal: those proposed are not needed, all others are kept."""
        return self.choosing([one.path for one in self.members if not one.proposed and one.removal is None])

    def keeping_all(self) -> list[Judgement]:
        """What is decided by keeping every file."""
        return [keep_all([one.file for one in self.members])]

    def choosing(self, paths: Iterable[str]) -> list[Judgement]:
        """What is decided by keeping these files and no other one of the set, but for protected ones.

        Raises:
            DecisionError: none would be kept, or a path is not of this set.
        """
        wanted = set(paths)
        if unknown := wanted - {one.path for one in self.members}:
            raise DecisionError(f"{min(unknown)} is not in the set of {self.keep.path}")
        kept = [one.file for one in self.members if one.path in wanted or (one.protected and one.removal is None)]
        others = [one.file for one in self.members if one.file not in set(kept) and one.removal is None]
        if not kept:
            raise DecisionError("No file of the set would be kept", expected="at least one")
        return ([keep_one(kept[0], others)] if others else []) + ([keep_all(kept)] if len(kept) > 1 else [])


@dataclass(frozen=True)
class Page:
    """Some sets of a kind: page `number` of `pages`, from 1; `total` sets are on all of them."""

    sets: list[ReviewSet]
    number: int
    pages: int
    total: int
