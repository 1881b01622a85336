"""The groups of images as page and HTTP API list them.

Belongs here: reading the table and the names once, order, filters, members. Not here: grouping
(`domain.analysis.groups_table`), which group has which name (`domain.review.group_names`), drawing
(`app.views.groups_page`, `api`).
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from imgret_assets.domain.images.files import label_of
from imgret_assets.domain.images.library import library_stamp
from imgret_assets.domain.review.decision_log import read_decisions
from imgret_assets.domain.review.group_names import assign_names, read_contents
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.derived_tables import GROUPS
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.stamped_cache import StampedCache

BY_SIZE, BY_TIGHTNESS = "largest first", "tightest first"


@dataclass(frozen=True)
class GroupMember:
    """An image of a group, and its score with the group's representative."""

    path: str
    score: float


@dataclass(frozen=True)
class ImageGroup:
    """A group: members by falling score, the representative (score 1) first; `name` is the representative's path."""

    name: str
    members: tuple[GroupMember, ...]

    @property
    def size(self) -> int:
        """Number of images."""
        return len(self.members)

    @property
    def lowest_score(self) -> float:
        """The lowest score with the representative."""
        return self.members[-1].score

    @cached_property
    def labels(self) -> Counter[str]:
        """Number of members by folder; those in the root have the empty name."""
        return Counter(label_of(member.path) or "" for member in self.members)

    def split_at(self, min_score: float) -> tuple[list[GroupMember], list[GroupMember]]:
        """Return the members that stay and those that leave if the lowest score allowed is `min_score`."""
        staying = [member for member in self.members if member.score >= min_score]
        return staying, list(self.members[len(staying) :])


@dataclass(frozen=True)
class GroupList:
    """All groups of two images or more, and how many images are in no group."""

    groups: list[ImageGroup]
    ungrouped: int
    # Also of images that are alone.
    group_by_path: Mapping[str, str] = field(repr=False, default_factory=dict)

    @cached_property
    def _by_name(self) -> dict[str, ImageGroup]:
        return {group.name: group for group in self.groups}

    def find(self, name: str) -> ImageGroup | None:
        """Return the group of a name; None if there is none."""
        return self._by_name.get(name)

    def group_of(self, path: str) -> str | None:
        """Return the name of the group that an image is in; None if it is in no group."""
        name = self.group_by_path.get(path)
        return name if name in self._by_name else None

    def select(
        self, *, order: str, label: str | None, min_size: int, named: Collection[str] | None = None
    ) -> list[ImageGroup]:
        """Return the groups of a size with a member in a folder, in an order; ties by name.

        Args:
            order: `BY_SIZE` or `BY_TIGHTNESS`.
            label: a folder; None for all.
            min_size: of the groups, in images.
            named: if not None, only these groups.
        """
        selected = [
            group
            for group in self.groups
            if group.size >= min_size
            and (not label or label in group.labels)
            and (named is None or group.name in named)
        ]
        if order == BY_TIGHTNESS:
            return sorted(selected, key=lambda group: (-group.lowest_score, group.name))
        return sorted(selected, key=lambda group: (-group.size, group.name))


_lists: StampedCache[GroupList] = StampedCache()
_names: StampedCache[Mapping[str, str]] = StampedCache()


def list_groups(rows: Iterable[tuple[str, str, float]]) -> GroupList:
    """Return the groups from rows of the table: path, name of the group, score."""
    members: dict[str, list[GroupMember]] = {}
    for path, name, score in rows:
        members.setdefault(name, []).append(GroupMember(path, score))
    groups = [
        ImageGroup(name, tuple(sorted(unsorted, key=lambda member: (member.path != name, -member.score, member.path))))
        for name, unsorted in members.items()
        if len(unsorted) > 1
    ]
    group_by_path = {member.path: name for name, unsorted in members.items() for member in unsorted}
    return GroupList(groups, sum(len(unsorted) == 1 for unsorted in members.values()), group_by_path)


def read_names(home: Home, space: str, groups: GroupList) -> Mapping[str, str]:
    """Return the names that people gave to groups, by the group's name in the table.

    They are found again only if the decisions, the images or the groups have changed.

    Raises:
        TableError: a table is missing or damaged.
        HomeError: the decisions can't be read.
    """
    decisions = read_decisions(home)
    if not decisions.group_names():
        return {}
    stamp = (decisions.stamp, library_stamp(home), _stamp_of_table(home, space))
    return _names.get(stamp, lambda: assign_names(decisions, groups.group_by_path, read_contents(home)))


def _stamp_of_table(home: Home, space: str) -> tuple[str, int, int]:
    path = GROUPS.require(home.warehouse, space)
    status = path.stat()
    return str(path), status.st_mtime_ns, status.st_size


def read_group_list(home: Home, space: str) -> GroupList:
    """Return the groups of a space; the table is read again only if it has changed.

    Raises:
        TableError: the table is missing or damaged.
    """
    return _lists.get(_stamp_of_table(home, space), lambda: _read(home, space))


def _read(home: Home, space: str) -> GroupList:
    table = tables.read(tables.groups_path(home.warehouse, space), ["path", "group", "score"])
    return list_groups(zip(*(table[name].to_pylist() for name in ("path", "group", "score")), strict=True))
