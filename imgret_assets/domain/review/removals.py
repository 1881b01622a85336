"""The files that decisions make removable.

Belongs here: the list of files that could be removed. Not here: removing them: nothing in imgret removes an image file.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from imgret_assets.domain.duplicates.usable_images import UsableImage, group_by_content
from imgret_assets.domain.images.files import storable_ns
from imgret_assets.domain.images.image_status import Status
from imgret_assets.domain.review.decision_log import read_decisions
from imgret_assets.domain.review.decisions import DUPLICATE, Decision, Decisions, File, is_protected
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import TableError


@dataclass(frozen=True, slots=True)
class Removal:
    """A file that could be removed.

    Attributes:
        file: its path and content.
        bytes: its size.
        keep: path of a file that is kept instead.
        decision: the decision that makes the file removable.
    """

    file: File
    bytes: int
    keep: str
    decision: Decision

    @property
    def path(self) -> str:
        """POSIX path under the image root."""
        return self.file.path


@dataclass(frozen=True)
class Removals:
    """The files that could be removed.

    Attributes:
        files: the removals.
        changed: removals left out, because the file, or the file kept instead, has changed since the last run.
    """

    files: list[Removal]
    changed: list[Removal]

    @property
    def bytes(self) -> int:
        """Total size of `files`."""
        return sum(removal.bytes for removal in self.files)


def find_removals(
    images_by_content: Mapping[str, Sequence[UsableImage]], decisions: Decisions, protected: Sequence[str] = ()
) -> dict[str, Removal]:
    """Return the files that the decisions in force make removable, by path.

    A decision holds for every file with the content it is about. A decision about two files with the same bytes is
    about one file only, and holds as long as another file has these bytes.

    Decisions in a circle remove nothing. Following the decisions from a removed content to the content kept instead,
    and on from there, must lead to a file that stays: the search starts at contents with a file that stays, and goes
    back.

    Args:
        images_by_content: all usable images of each content.
        decisions: the decisions in force.
        protected: folders from which nothing is removed.
    """
    candidates: set[str] = set()
    removable_for: dict[str, list[tuple[Decision, str, list[UsableImage]]]] = {}
    for decision in decisions.in_force():
        if decision.verdict == DUPLICATE:
            kept, duplicate = decision.kept_and_duplicate
            removable = _removable_images(kept, duplicate, images_by_content, protected)
            candidates.update(image.path for image in removable)
            removable_for.setdefault(kept.sha256, []).append((decision, kept.path, removable))
    # A file that stays, for each content that has one, and for each content that is removed in favour of such a one.
    staying_file: dict[str, str] = {}
    for content in removable_for:
        if staying := [image.path for image in images_by_content.get(content, ()) if image.path not in candidates]:
            staying_file[content] = min(staying)
    removals: dict[str, Removal] = {}
    queue = deque(staying_file)
    while queue:
        content = queue.popleft()
        staying_paths = {image.path for image in images_by_content[content]} - candidates
        for decision, kept_path, removable in removable_for[content]:
            keep = kept_path if kept_path in staying_paths else staying_file[content]
            for image in removable:
                if image.path not in removals:
                    removals[image.path] = Removal(File(image.path, image.sha256), image.bytes, keep, decision)
                if image.sha256 in removable_for and image.sha256 not in staying_file:
                    staying_file[image.sha256] = keep
                    queue.append(image.sha256)
    return removals


def _removable_images(
    kept: File, duplicate: File, images_by_content: Mapping[str, Sequence[UsableImage]], protected: Sequence[str]
) -> list[UsableImage]:
    """Return the images that are not needed if `kept` is kept for `duplicate`; none if `kept` no longer exists."""
    same_content = kept.sha256 == duplicate.sha256
    if len(images_by_content.get(kept.sha256, ())) < (2 if same_content else 1):
        return []
    return [
        image
        for image in images_by_content.get(duplicate.sha256, ())
        if (not same_content or image.path == duplicate.path) and not is_protected(image.path, protected)
    ]


def list_removals(home: Home) -> Removals:
    """Return the files that could be removed, sorted by path, if they are unchanged since the last run.

    Raises:
        TableError: a shard's manifest is missing or damaged.
        HomeError: the decisions can't be parsed.
    """
    images, file_states = _manifest_images(home)
    removals = find_removals(group_by_content(images), read_decisions(home), home.settings.protected)
    files: list[Removal] = []
    changed: list[Removal] = []
    for path in sorted(removals):
        removal = removals[path]
        unchanged = all(_is_unchanged(home.images / name, *file_states[name]) for name in (path, removal.keep))
        (files if unchanged else changed).append(removal)
    return Removals(files, changed)


def _is_unchanged(file: Path, size_bytes: int, mtime_ns: int) -> bool:
    try:
        stat = file.stat()
    except OSError:
        return False
    return (stat.st_size, storable_ns(stat.st_mtime_ns)) == (size_bytes, mtime_ns)


def _manifest_images(home: Home) -> tuple[list[UsableImage], dict[str, tuple[int, int]]]:
    """Return all usable images of the manifests, whatever the model, and the size and mtime in ns of each path."""
    images: list[UsableImage] = []
    file_states: dict[str, tuple[int, int]] = {}
    columns = ["path", "sha256", "bytes", "width", "height", "mtime_ns", "status"]
    for shard in home.shards:
        path = tables.require(
            tables.manifest_path(home.warehouse, shard), f"The manifest of shard {shard}", "raw_images"
        )
        rows = tables.where_equal(tables.read(path, columns), "status", Status.OK).drop_columns(["status"])
        for name, sha256, size_bytes, width, height, mtime_ns in zip(*rows.to_pydict().values(), strict=True):
            images.append(UsableImage(name, sha256, size_bytes, width or 0, height or 0))
            file_states[name] = (size_bytes, mtime_ns)
    return images, file_states


def find_library_file(home: Home, path: str) -> File:
    """Return a usable image of the library as a file to decide about.

    Raises:
        TableError: the manifests have no such usable image.
    """
    image = next((image for image in _manifest_images(home)[0] if image.path == path), None)
    if image is None:
        raise TableError(
            f"{path} is not among the usable images of {home.images}",
            remedy="give a path under the image root; a new file is known after `imgret run`",
        )
    return File(image.path, image.sha256)
