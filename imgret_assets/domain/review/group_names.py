"""The names that people give to groups, and which group has which name now.

Belongs here: finding the group that a name belongs to. Not here: storing names (`domain.review.decision_log`), groups
(`domain.analysis.groups_table`).

A name is stored with contents of its group, not with the group, because groups change with every image. It belongs to
the group that has most of these contents now, if that are at least half of those that the library still has. Of several
names of one group the latest counts.
"""

from collections import Counter
from collections.abc import Mapping

from imgret_assets.domain.review.decision_log import read_decisions, record_group_name
from imgret_assets.domain.review.decisions import Decisions, File
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import DecisionError


def read_contents(home: Home) -> dict[str, str]:
    """Return the content of each listed file by path.

    Raises:
        TableError: a manifest is damaged.
    """
    contents: dict[str, str] = {}
    for shard in home.shards:
        file = tables.manifest_path(home.warehouse, shard)
        if file.is_file():
            rows = tables.read(file, ["path", "sha256"])
            contents.update(zip(rows["path"].to_pylist(), rows["sha256"].to_pylist(), strict=True))
    return {path: sha256 for path, sha256 in contents.items() if sha256}


def read_group_names(home: Home, group_of: Mapping[str, str]) -> dict[str, str]:
    """Return the names of groups by group; groups without a name are left out.

    Args:
        home: the home.
        group_of: group of each image by path, also of images that are alone.

    Raises:
        TableError: a manifest is damaged.
        HomeError: the decisions can't be read.
    """
    decisions = read_decisions(home)
    return assign_names(decisions, group_of, read_contents(home)) if decisions.group_names() else {}


def assign_names(decisions: Decisions, group_of: Mapping[str, str], content_of: Mapping[str, str]) -> dict[str, str]:
    """Return the names of groups by group.

    Args:
        decisions: the decisions in force.
        group_of: group of each image by path, also of images that are alone.
        content_of: content of each image by path.
    """
    events = decisions.group_names()
    named = {sha256 for event in events for sha256 in event.members or ()}
    groups_of: dict[str, set[str]] = {}
    for path, group in group_of.items():
        sha256 = content_of.get(path)
        if sha256 in named:
            groups_of.setdefault(sha256, set()).add(group)
    names: dict[str, str] = {}
    for event in reversed(events):
        members = [sha256 for sha256 in event.members or () if sha256 in groups_of]
        votes = Counter(group for sha256 in members for group in groups_of[sha256])
        if not votes:
            continue
        # The first member stored is the representative: it decides between equal halves.
        first = groups_of[members[0]]
        group, count = min(votes.items(), key=lambda vote: (-vote[1], vote[0] not in first, vote[0]))
        if 2 * count >= len(members):
            names.setdefault(group, event.name or "")
    return {group: name for group, name in names.items() if name}


def name_group(home: Home, name: str, paths: list[str], *, by: str | None = None) -> str:
    """Record the name of a group and return the id of the batch; a blank name takes the name away.

    Args:
        home: the home.
        name: the name.
        paths: of the images of the group, the representative first.
        by: as in `record_group_name`.

    Raises:
        DecisionError: the name is refused, or no image is listed any more.
        TableError: a manifest is damaged.
        HomeError, DiskFullError, LockTimeoutError: the name can't be stored.
    """
    contents = read_contents(home)
    files = [File(path, contents[path]) for path in paths if path in contents]
    if not files:
        raise DecisionError(f"No image of the group {paths[0] if paths else ''} is listed", remedy="run `imgret run`")
    return record_group_name(home, name, files, by=by)
