"""Every failure imgret reports by name, each with what was found, what was expected and what to do.

Belongs here: exception classes and their exit codes. Not here: a picture that can't be used, which is
no failure of a run but a row with a status (`domain.images.decode.Status`).
"""

EXIT_FAILED = 1
EXIT_USAGE = 2


class ImgretError(Exception):
    """A failure with a message for the person who runs imgret.

    Args:
        found: what was met, naming the file, setting or server.
        expected: what would have been right; left out of the message when empty.
        remedy: what to do now; left out of the message when empty.
    """

    exit_code = EXIT_FAILED

    def __init__(self, found: str, *, expected: str = "", remedy: str = "") -> None:
        self.found = found
        self.expected = expected
        self.remedy = remedy
        parts = [found.rstrip(".") + "."]
        if expected:
            parts.append(f"Expected: {expected.rstrip('.')}.")
        if remedy:
            parts.append(f"What to do: {remedy.rstrip('.')}.")
        super().__init__(" ".join(parts))


def first_line(error: Exception) -> str:
    """The first line of what an exception of other code says; empty where it says nothing."""
    return next(iter(str(error).splitlines()), "")


class SettingError(ImgretError):
    """A setting, flag or config value is not usable."""

    exit_code = EXIT_USAGE


class RootError(ImgretError):
    """The image root is missing, not a folder, or not the one this home was built from."""


class VanishedFilesError(ImgretError):
    """So many known files have vanished that the root is probably not mounted."""


class HomeError(ImgretError):
    """The home's own records are missing, contradict the settings or can't be written."""


class LockTimeoutError(ImgretError):
    """Another run holds a lock longer than this one may wait."""


class TableError(ImgretError):
    """A table is missing, of another embedding space, or holds what must not reach the graph."""


class StaleTableError(TableError):
    """A table was made from others that have changed since."""


class TooManyPairsError(ImgretError):
    """More pairs are above the threshold than anybody could look at, or than the disk may be asked to hold."""


class ModelError(ImgretError):
    """A model is unknown, its weights can't be had, or it gives unusable vectors."""


class ImageError(ImgretError):
    """The picture given as a query can't be used."""

    exit_code = EXIT_USAGE


class DecisionError(ImgretError):
    """A decision about images can't be written down, or is not there to be undone."""

    exit_code = EXIT_USAGE


class ServerError(ImgretError):
    """The embedded Neo4j can't be resolved, started or stopped."""


class DatabaseError(ImgretError):
    """Neo4j can't be reached, refuses the login, or can't do what was asked."""


class ForeignDatabaseError(DatabaseError):
    """The database holds images that this home did not put there."""


class GraphRebuildingError(DatabaseError):
    """The graph is being rebuilt for another embedding space; there is nothing to ask yet."""


class DiskFullError(ImgretError):
    """No room is left for a table; the old one is intact."""
