"""Files that decisions make superfluous.

Belongs here: the list of what could be removed. Not here: removing: nothing removes an image file.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from imgret_assets.domain.duplicates.pictures import Picture, _by_content
from imgret_assets.domain.images.decode import Status
from imgret_assets.domain.review.decision_log import standing
from imgret_assets.domain.review.decisions import DUPLICATE, Decision, Decisions, File, is_protected
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import TableError

# What decisions make superfluous


@dataclass(frozen=True, slots=True)
class Removal:
    """A file that would be removed.

    Attributes:
        file: its path and content.
        bytes: its length.
        keep: path of a file that is kept instead.
        decision: what was decided.
    """

    file: File
    bytes: int
    keep: str
    decision: Decision

    @property
    def path(self) -> str:
        """POSIX, under the image root."""
        return self.file.path


@dataclass(frozen=True)
class Removals:
    """What would be removed.

    Attributes:
        files: those to remove.
        changed: those left out, because they or what is kept instead are no longer as the tables know them.
    """

    files: list[Removal]
    changed: list[Removal]

    @property
    def bytes(self) -> int:
        """What they take."""
        return sum(one.bytes for one in self.files)


def superfluous(
    by_content: Mapping[str, Sequence[Picture]], decisions: Decisions, protected: Sequence[str] = ()
) -> dict[str, Removal]:
    """Files that standing decisions make superfluous, by path.

    A decision holds for every file with the content it is about, two files with the same bytes apart: there it is
    about one file, and holds as long as there is another one with these bytes. What is decided in a circle removes
    nothing: whoever goes from kept content to kept content has to come to a file that stays.

    Args:
        by_content: all usable files of each content.
        decisions: what is in force.
        protected: folders that nothing is removed from.
    """
    may_go: set[str] = set()
    dropped_for: dict[str, list[tuple[Decision, str, list[Picture]]]] = {}
    for decision in decisions.in_force():
        if decision.verdict == DUPLICATE:
            kept, copy = decision.kept_and_copy
            going = _going(kept, copy, by_content, protected)
            may_go.update([one.path for one in going])
            dropped_for.setdefault(kept.sha256, []).append((decision, kept.path, going))
    # Of each content that stays, or that has gone for one that does: a file that stays.
    stays: dict[str, str] = {}
    for content in dropped_for:
        if staying := [one.path for one in by_content.get(content, ()) if one.path not in may_go]:
            stays[content] = min(staying)
    found: dict[str, Removal] = {}
    waiting = deque(stays)
    while waiting:
        content = waiting.popleft()
        here = {one.path for one in by_content[content]} - may_go
        for decision, own, going in dropped_for[content]:
            keep = own if own in here else stays[content]
            for one in going:
                if one.path not in found:
                    found[one.path] = Removal(File(one.path, one.sha256), one.bytes, keep, decision)
                if one.sha256 in dropped_for and one.sha256 not in stays:
                    stays[one.sha256] = keep
                    waiting.append(one.sha256)
    return found


def _going(
    kept: File, copy: File, by_content: Mapping[str, Sequence[Picture]], protected: Sequence[str]
) -> list[Picture]:
    """Files that are not needed where `kept` is kept for `copy`; none if that is not there."""
    same = kept.sha256 == copy.sha256
    if len(by_content.get(kept.sha256, ())) < (2 if same else 1):
        return []
    found = [one for one in by_content.get(copy.sha256, ()) if not same or one.path == copy.path]
    return [one for one in found if not is_protected(one.path, protected)] if protected else found


def to_remove(home: Home) -> list[Removal]:
    """Files that standing decisions make superfluous, by path; see `removals`."""
    return removals(home).files


def removals(home: Home) -> Removals:
    """What would be removed by the standing decisions: files that are still there as the tables know them.

    Raises:
        TableError: a shard's manifest is missing or damaged.
        HomeError: the decisions can't be understood.
    """
    pictures, times = _listed(home)
    found = superfluous(_by_content(pictures), standing(home), home.settings.protected)
    files: list[Removal] = []
    changed: list[Removal] = []
    for path in sorted(found):
        one = found[path]
        as_known = all(_is_as_known(home.images / name, *times[name]) for name in (path, one.keep))
        (files if as_known else changed).append(one)
    return Removals(files, changed)


def _is_as_known(file: Path, size: int, mtime_ns: int) -> bool:
    try:
        found = file.stat()
    except OSError:
        return False
    return (found.st_size, found.st_mtime_ns) == (size, mtime_ns)


def _listed(home: Home) -> tuple[list[Picture], dict[str, tuple[int, int]]]:
    """All usable files of the manifests, whatever the model; length and mtime in ns of each."""
    pictures: list[Picture] = []
    times: dict[str, tuple[int, int]] = {}
    columns = ["path", "sha256", "bytes", "width", "height", "mtime_ns", "status"]
    for shard in home.shards:
        path = tables.require(
            tables.manifest_path(home.warehouse, shard), f"The manifest of shard {shard}", "raw_images"
        )
        rows = tables.where_equal(tables.read(path, columns), "status", Status.OK).drop_columns(["status"])
        for name, sha, size, width, height, mtime_ns in zip(*rows.to_pydict().values(), strict=True):
            pictures.append(Picture(name, sha, size, width or 0, height or 0))
            times[name] = (size, mtime_ns)
    return pictures, times


def file_of(home: Home, path: str) -> File:
    """A file of the library as it is decided about.

    Raises:
        TableError: the manifests know no such usable file.
    """
    found = next((one for one in _listed(home)[0] if one.path == path), None)
    if found is None:
        raise TableError(
            f"{path} is not among the usable images of {home.images}",
            remedy="give a path under the image root; a new file is known after `imgret run`",
        )
    return File(found.path, found.sha256)
