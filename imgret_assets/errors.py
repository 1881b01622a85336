"""The named errors of imgret: each has what was found, what was expected and the remedy.

Belongs here: exception classes and their exit codes. Not here: an image that can't be used, which does not fail a run
but becomes a row with a status (`domain.images.image_status.Status`).
"""

import difflib
from collections.abc import Iterable, Iterator
from typing import Any

EXIT_FAILED = 1
EXIT_USAGE = 2


class ImgretError(Exception):
    """A failure with a message for the person who runs imgret.

    Args:
        found: the state that caused it, with the name of the file, setting or server.
        expected: the correct state; not in the message where it is empty.
        remedy: what to do now; not in the message where it is empty.
    """

    exit_code = EXIT_FAILED

    def __init__(self, found: str, *, expected: str = "", remedy: str = "") -> None:
        self.found = found
        self.expected = expected
        self.remedy = remedy
        parts = [found if found.endswith("?") else found.rstrip(".") + "."]
        if expected:
            parts.append(f"Expected: {expected.rstrip('.')}.")
        if remedy:
            parts.append(f"What to do: {remedy.rstrip('.')}.")
        super().__init__(" ".join(parts))

    def __reduce__(self) -> tuple[Any, ...]:
        """Reach another process whole, whatever the arguments of its class are."""
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[ImgretError], arguments: tuple[object, ...], attributes: dict[str, object]) -> ImgretError:
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(attributes)
    return error


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question with the known name that is nearest, to append to a sentence; empty where none is near."""
    nearest = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return f"; did you mean {nearest[0]}?" if nearest else ""


def first_line(error: Exception) -> str:
    """Return the first line of an exception's message; empty where it has none."""
    return next(iter(str(error).splitlines()), "")


def error_chain(error: BaseException, *links: str) -> Iterator[BaseException]:
    """Yield an error and those behind it, each once: a chain may be a circle, as `raise error from error` makes one.

    Args:
        error: the first one.
        links: names of attributes of which the first that an error has leads to the one behind it.
    """
    seen: list[BaseException] = []
    behind: BaseException | None = error
    while behind is not None and not any(behind is known for known in seen):
        seen.append(behind)
        yield behind
        behind = next(filter(None, (getattr(behind, link, None) for link in links)), None)


class SettingError(ImgretError):
    """A setting, flag or config value is unknown or not usable."""

    exit_code = EXIT_USAGE


class RootError(ImgretError):
    """The image root is missing, not a folder, or not the one that this home was built from."""


class VanishedFilesError(ImgretError):
    """So many known files have vanished that the image root is probably not mounted."""


class HomeError(ImgretError):
    """The home's record is damaged, too new or in conflict with the settings, or the home can't be written."""


class ReshardedError(HomeError):
    """The home has got another number of shards since this process opened it."""


class LockTimeoutError(ImgretError):
    """Another run holds a lock longer than this run may wait."""


class TableError(ImgretError):
    """A table is missing, of another embedding space, or has values that must not reach the graph."""


class StaleTableError(TableError):
    """A table was made from other tables, which have changed since."""


class TooManyPairsError(ImgretError):
    """More pairs are above the threshold than the settings allow, which protects the disk."""


class ModelError(ImgretError):
    """A model is unknown, its weights are not available, or its vectors are unusable."""


class ImageError(ImgretError):
    """The query image can't be used."""

    exit_code = EXIT_USAGE


class QueryError(ImgretError):
    """The parts of a query contradict each other, or there is none to search with."""

    exit_code = EXIT_USAGE


class DecisionError(ImgretError):
    """A decision about images can't be recorded, or there is none to undo."""

    exit_code = EXIT_USAGE


class ServerError(ImgretError):
    """The embedded Neo4j can't be downloaded, started or stopped."""


class DatabaseError(ImgretError):
    """Neo4j can't be reached, refuses the login, or fails at a statement."""


class UnreachableDatabaseError(DatabaseError):
    """Neo4j can't be reached, or the connection was lost: the same may succeed later."""


class ForeignDatabaseError(DatabaseError):
    """The database holds images of another home."""


class GraphRebuildingError(DatabaseError):
    """The graph is being rebuilt for another embedding space and can't be searched yet."""


class DiskFullError(ImgretError):
    """The disk has no room for a file; what was there before is intact."""


class StoreError(ImgretError):
    """The object store with the tables refuses a request, or its content is damaged or of another home."""


class UnreachableStoreError(StoreError):
    """The object store can't be reached, or does not answer: the same may succeed later."""


class VanishedObjectError(StoreError):
    """An object of the store is missing."""


class ChangedObjectError(StoreError):
    """Another process has written an object since this one read it."""


class ClusterError(ImgretError):
    """The cluster can't be reached, none of its nodes can do the work, or work was lost too often."""


class LostWorkError(ClusterError):
    """A task or an actor was lost with its process or node: the same may succeed elsewhere."""


class UnfitWorkerError(ClusterError):
    """A node would not compute the same as this machine: other versions, or a CPU or files that it lacks."""
