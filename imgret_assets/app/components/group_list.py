"""Groups of images as the page lists them.

Belongs here: reading the table once, order, filters, members. Not here: grouping (`domain.analysis.groups_table`),
showing (`app.views.groups_page`).
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import streamlit as st

from imgret_assets.domain.images.files import label_of
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.derived_tables import GROUPS
from imgret_assets.domain.storage.home import Home

BY_SIZE, BY_TIGHTNESS = "largest first", "tightest first"


@dataclass(frozen=True)
class GroupMember:
    """An image of a group, and its raw cosine with the group's representative."""

    path: str
    score: float


@dataclass(frozen=True)
class ImageGroup:
    """A group: its members by falling score, the representative (score 1) first; `name` is that one's path."""

    name: str
    members: tuple[GroupMember, ...]

    @property
    def size(self) -> int:
        """How many images."""
        return len(self.members)

    @property
    def weakest(self) -> float:
        """The least score with the representative."""
        return self.members[-1].score

    @cached_property
    def labels(self) -> Counter[str]:
        """How many members lie in each folder; those in the root count under the empty name."""
        return Counter(label_of(member.path) or "" for member in self.members)

    def chained(self, threshold: float) -> list[GroupMember]:
        """Members whose score is not above the threshold: others brought them into the group."""
        return [member for member in self.members[1:] if member.score <= threshold]

    def split_at(self, least: float) -> tuple[list[GroupMember], list[GroupMember]]:
        """Those that stay when members below a score are cut off, and those that leave."""
        staying = [member for member in self.members if member.score >= least]
        return staying, list(self.members[len(staying) :])


@dataclass(frozen=True)
class GroupList:
    """All groups of two images or more, and how many images are alone."""

    groups: list[ImageGroup]
    alone: int
    _of: dict[str, str] = field(repr=False, default_factory=dict)

    def named(self, name: str) -> ImageGroup | None:
        """The group of a name; None where there is none."""
        return next((group for group in self.groups if group.name == name), None)

    def of(self, path: str) -> str | None:
        """The name of the group an image is in; None where it is alone."""
        return self._of.get(path)

    def listed(self, *, order: str, label: str | None, least_size: int) -> list[ImageGroup]:
        """Groups of a size with a member in a folder, in an order; ties by name."""
        found = [group for group in self.groups if group.size >= least_size and (not label or label in group.labels)]
        if order == BY_TIGHTNESS:
            return sorted(found, key=lambda group: (-group.weakest, group.name))
        return sorted(found, key=lambda group: (-group.size, group.name))


def list_groups(rows: Iterable[tuple[str, str, float]]) -> GroupList:
    """Groups from rows of the table: path, name of the group, score."""
    members: dict[str, list[GroupMember]] = {}
    for path, name, score in rows:
        members.setdefault(name, []).append(GroupMember(path, score))
    groups = [
        ImageGroup(name, tuple(sorted(inside, key=lambda one: (one.path != name, -one.score, one.path))))
        for name, inside in members.items()
        if len(inside) > 1
    ]
    of = {member.path: group.name for group in groups for member in group.members}
    return GroupList(groups, sum(len(inside) == 1 for inside in members.values()), of)


def read_group_list(home: Home, space: str) -> GroupList:
    """The groups of a space as the table has them now; read again only when it has changed.

    Raises:
        TableError: the table is missing or damaged.
    """
    path = GROUPS.require(home.warehouse, space)
    found = path.stat()
    return _read((str(path), found.st_mtime_ns, found.st_size), home, space)


@st.cache_resource(show_spinner=False, max_entries=2)
def _read(stamp: tuple[str, int, int], _home: Home, _space: str) -> GroupList:
    del stamp
    table = tables.read(tables.groups_path(_home.warehouse, _space), ["path", "group", "score"])
    return list_groups(zip(*(table[name].to_pylist() for name in ("path", "group", "score")), strict=True))
