"""The sets of images that a person decides about, and the decisions that each answer means.

Belongs here: records of sets and their members. Not here: which sets are left (`domain.review.queue`).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from imgret_assets.domain.duplicates.duplicate_search import EXACT, NEAR
from imgret_assets.domain.review.decisions import Decision, File, SetDecision, keep_all, keep_one
from imgret_assets.errors import DecisionError

SIMILAR = "similar"
KINDS = (EXACT, NEAR, SIMILAR)


@dataclass(frozen=True, slots=True)
class Member:
    """A file of a set.

    Attributes:
        file: its path and content.
        width, height: in pixels, after EXIF rotation.
        bytes: size of the file.
        kind: relation to the file to keep: `exact`, `near`, `similar`, or one to look at; None for the file to keep
            itself.
        distance: bits of 256 in which the perceptual hashes differ from those of the file to keep; None if not
            measured.
        correlation: of the small grey images of the two, in [-1, 1]; None if not measured.
        cosine: raw cosine of the two embeddings, in [-1, 1]; 1 if both have the same bytes; None if not measured.
        protected: the file is in a protected folder.
        removal: the decision in force that makes the file removable; None if there is none.
        kept: a decision in force states that the file does not duplicate another file of the set.
        proposed: the file is proposed for removal.
        freed_bytes: what its removal frees if all proposed files of the set are removed; 0 if it is not proposed.
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
    freed_bytes: int = 0

    @property
    def path(self) -> str:
        """POSIX path under the image root."""
        return self.file.path

    @property
    def sha256(self) -> str:
        """Content of the file."""
        return self.file.sha256


@dataclass(frozen=True)
class ReviewSet:
    """Files to decide about together.

    Attributes:
        kind: `exact`, `near` or `similar`; one of `LOOK_KINDS` for a pair that is no set of duplicates.
        members: the file to keep first, then the others, closest first.
        reason: why the first file is the one to keep, such as `4000 x 3000, most pixels`; of a pair to look at,
            what the two files differ by.
    """

    kind: str
    members: tuple[Member, ...]
    reason: str

    @property
    def keep(self) -> Member:
        """The file that is proposed to be kept."""
        return self.members[0]

    @property
    def other_members(self) -> tuple[Member, ...]:
        """All files but the one to keep."""
        return self.members[1:]

    @property
    def proposed_bytes(self) -> int:
        """Number of bytes that removing the proposed files frees."""
        return sum(member.freed_bytes for member in self.members)

    @property
    def weakest_cosine(self) -> float | None:
        """The lowest cosine with the file to keep; None if none was measured."""
        return min((member.cosine for member in self.other_members if member.cosine is not None), default=None)

    def decide_proposal(self) -> list[SetDecision]:
        """Return the decisions that accept the proposal: the proposed files are not needed, all others are kept."""
        return self.decide_keep(
            [member.path for member in self.members if not member.proposed and member.removal is None]
        )

    def decide_keep_all(self) -> list[SetDecision]:
        """Return the decision that keeps every file."""
        return [keep_all([member.file for member in self.members])]

    def decide_keep(self, paths: Iterable[str]) -> list[SetDecision]:
        """Return the decisions that keep these files and the protected ones; the other files are not needed.

        Raises:
            DecisionError: no file would be kept, or a path is not in this set.
        """
        chosen = set(paths)
        if unknown := chosen - {member.path for member in self.members}:
            raise DecisionError(f"{min(unknown)} is not in the set of {self.keep.path}")
        kept = [
            member.file
            for member in self.members
            if member.path in chosen or (member.protected and member.removal is None)
        ]
        not_needed = [member.file for member in self.members if member.file not in set(kept) and member.removal is None]
        if not kept:
            raise DecisionError("No file of the set would be kept", expected="at least one")
        decisions = [keep_one(kept[0], not_needed)] if not_needed else []
        return decisions + ([keep_all(kept)] if len(kept) > 1 else [])


@dataclass(frozen=True)
class Page:
    """Some sets of one kind: page `number` of `pages`, from 1; all pages together have `total` sets."""

    sets: list[ReviewSet]
    number: int
    pages: int
    total: int
