"""The image roots of a home: one folder of image files or prefix of a bucket, or several with a name each.

The path of an image in tables and graph is relative to the one plain root, or begins with the name of its root:
`photos/2024/a.jpg`. Belongs here: the text of the setting, the way from a path to its file and back. Not here: listing
folders (`domain.images.files`), the guards against an unmounted root (`domain.images.manifest`), the addresses of
objects (`object_url`).
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from imgret_assets.errors import SettingError
from imgret_assets.object_url import URL_START, ImageFile, ObjectUrl, check_known_scheme, is_url

# What follows the sign of equality of a named root. A plain folder whose path is absolute can't look like it.
_LOCATION_START = rf"(?:/|~|\.\.?(?:/|$)|{URL_START})"
_NAMED = re.compile(rf"[^=;]*=(?={_LOCATION_START})")
# A `;` separates only where another named root follows, so that the name of a folder may have one.
_SEPARATOR = re.compile(rf";\s*(?=[^=;/]*={_LOCATION_START})")
_PLAIN_STARTS = ("/", "~", "./", "../")
_NAME = re.compile(r"\w([\w .-]*[\w.-])?")
EXAMPLE = "photos=/mnt/photos;archive=/mnt/archive"
# Nothing can exist below it: the place of a path whose first part names no root.
_NOWHERE = Path(os.devnull)


@dataclass(frozen=True)
class ImageRoots:
    """The folders of a home's image files, or the prefixes of its objects.

    Attributes:
        folders: name and absolute folder or address of each root, by name; a single plain root has the empty name.
    """

    folders: tuple[tuple[str, ImageFile], ...]

    @classmethod
    def plain(cls, folder: ImageFile) -> "ImageRoots":
        """Return the one root that has no name: paths are relative to it."""
        return cls((("", folder),))

    @classmethod
    def parse(cls, text: str, source: str = "IMGRET_IMAGES") -> "ImageRoots":
        """Parse a folder or an address, or `NAME=FOLDER` once or more, separated by `;`.

        A text that starts with `/`, `~`, `./`, `../` or `s3://` is a single plain root, whatever signs it contains. So
        is any other text without `=` before an absolute folder or an address.

        Args:
            text: of the setting, or what `__str__` returns.
            source: the setting, for messages.

        Raises:
            SettingError: a name is no name, two roots have one name, or an address is none.
        """
        if _is_plain(text):
            return cls.plain(_located(text, source))
        folders: dict[str, ImageFile] = {}
        for part in _SEPARATOR.split(text):
            name, folder = _named_root(part, source)
            if name in folders:
                raise SettingError(
                    f"{source} names two roots {name!r}: {folders[name]} and {folder}",
                    expected="another name for each",
                    remedy="rename one of them",
                )
            folders[name] = folder
        return cls(tuple(sorted(folders.items())))

    @property
    def is_named(self) -> bool:
        """Whether paths begin with the name of their root."""
        return self.folders[0][0] != ""

    @property
    def names(self) -> list[str]:
        """The names, sorted; the empty one of a plain root."""
        return [name for name, _ in self.folders]

    @property
    def folder(self) -> Path:
        """The folder of the only root, plain or named.

        Raises:
            ValueError: there are several, or it is a bucket.
        """
        [(_, folder)] = self.folders
        return _on_this_machine(folder)

    @property
    def buckets(self) -> list[ObjectUrl]:
        """The roots that are prefixes of objects."""
        return [folder for _, folder in self.folders if isinstance(folder, ObjectUrl)]

    def __truediv__(self, path: str | os.PathLike[str]) -> ImageFile:
        """Return the file or object at a path of tables and graph; one that can't exist where no root has the name."""
        if not self.is_named:
            return self.folders[0][1] / path
        root = self.root_of(path)
        return (_NOWHERE if root is None else root).joinpath(*PurePosixPath(path).parts[1:])

    def local(self, path: str | os.PathLike[str]) -> Path:
        """Return the file at a path of tables and graph.

        Raises:
            ValueError: it lies in a bucket.
        """
        return _on_this_machine(self / path)

    def __str__(self) -> str:
        """Return the text that settings, record, tables and graph contain: the folder, or `NAME=FOLDER` with `;`."""
        return ";".join(f"{name}={folder}" if name else str(folder) for name, folder in self.folders)

    def root_of(self, path: str | os.PathLike[str]) -> ImageFile | None:
        """Return the folder or prefix of the root that a path belongs to; None where it names none."""
        if not self.is_named:
            return self.folders[0][1]
        return dict(self.folders).get(next(iter(PurePosixPath(path).parts), ""))

    def path_of(self, file: str | os.PathLike[str], *, real: bool = False) -> str | None:
        """Return the path of a file in tables and graph, POSIX; None for one that is outside of every root.

        Args:
            file: as the operating system names it; a relative one is in the working folder.
            real: follow the links of the roots and of the file, of which None is only made absolute otherwise.
        """
        if isinstance(file, ObjectUrl):
            return self._path_of_object(file)
        resolve = os.path.realpath if real else os.path.abspath
        absolute = resolve(file)
        for name, folder in self.folders:
            if isinstance(folder, ObjectUrl):
                continue
            base = resolve(folder)
            if absolute == base or absolute.startswith(base.rstrip("/") + "/"):
                relative = PurePosixPath(absolute).relative_to(base)
                return (PurePosixPath(name) / relative).as_posix()
        return None

    def _path_of_object(self, url: ObjectUrl) -> str | None:
        for name, folder in self.folders:
            if isinstance(folder, ObjectUrl) and (relative := folder.relative(url)):
                return (PurePosixPath(name) / relative).as_posix()
        return None

    def name_of(self, path: str) -> str:
        """Return the first part of a path, which names its root; empty where the root is a plain one."""
        return path.partition("/")[0] if self.is_named else ""

    def continued_names(self, former: "ImageRoots") -> set[str]:
        """Return the names of former roots whose paths still mean the same files, or files that have left.

        A name that another folder has now is none of them, and neither is the former name of a folder: what was known
        is of no use then, but nothing has vanished either.
        """
        if not (self.is_named and former.is_named):
            return set(self.names) if self == former else set()
        folders = dict(self.folders)
        return {
            name
            for name, folder in former.folders
            if (folders[name] == folder if name in folders else folder not in folders.values())
        }

    def check_apart(self) -> None:
        """Raise an error if two roots are the same folder, or one lies in another: its images would be listed twice.

        Raises:
            SettingError: with the names of both.
        """
        real = {
            name: folder if isinstance(folder, ObjectUrl) else PurePosixPath(os.path.realpath(folder))
            for name, folder in self.folders
        }
        for name, folder in real.items():
            for other, around in real.items():
                if name != other and _lies_in(folder, around):
                    relation = "is the same folder as" if folder == around else "lies in"
                    raise SettingError(
                        f"The image root {name} ({self / name}) {relation} the image root {other} ({self / other})",
                        expected="folders that are apart, so that no image is listed twice",
                        remedy="leave one of them out of IMGRET_IMAGES (or --images)",
                    )


# Where only `/` is used, a folder or prefix will do in place of roots.
AnyRoot: TypeAlias = ImageFile | ImageRoots


def as_roots(root: AnyRoot) -> ImageRoots:
    """Return roots; of a folder or prefix, the plain root."""
    return root if isinstance(root, ImageRoots) else ImageRoots.plain(root)


def joined(values: Sequence[str | os.PathLike[str]]) -> str | None:
    """Return the text of the roots that a repeatable option has; None where it is not there.

    Raises:
        SettingError: there are several, and one has no name.
    """
    texts = [os.fspath(value) for value in values]
    if len(texts) > 1:
        for text in texts:
            if _is_plain(text):
                raise SettingError(
                    f"--images is given {len(texts)} times, and {text} has no name",
                    expected="a name for each of several roots: --images photos=/mnt/photos --images archive=/mnt/old",
                    remedy=f"name it, such as {_suggested_name(text)}={_located(text, '--images')}",
                )
    return ";".join(texts) or None


def _suggested_name(text: str) -> str:
    name = re.sub(r"[^\w.-]+", "-", PurePosixPath(text).name).strip("-.")
    return name or "photos"


def _on_this_machine(file: ImageFile) -> Path:
    if isinstance(file, ObjectUrl):
        raise ValueError(f"{file} is no file of this machine")
    return file


def _is_plain(text: str) -> bool:
    return text.startswith(_PLAIN_STARTS) or is_url(text) or not _NAMED.match(text)


def _lies_in(folder: PurePosixPath | ObjectUrl, around: PurePosixPath | ObjectUrl) -> bool:
    if isinstance(folder, ObjectUrl):
        return isinstance(around, ObjectUrl) and around.relative(folder) is not None
    return isinstance(around, PurePosixPath) and folder.is_relative_to(around)


def _located(text: str, source: str) -> ImageFile:
    if is_url(text):
        return ObjectUrl.parse(text, source)
    check_known_scheme(text, source)
    # Not resolve(): a path through a link keeps its name; only the working folder is added.
    return Path(os.path.abspath(os.path.expanduser(text)))  # noqa: PTH100, PTH111


def _named_root(part: str, source: str) -> tuple[str, ImageFile]:
    name, _, folder = part.partition("=")
    name = name.strip()
    if not _NAME.fullmatch(name):
        raise SettingError(
            f"{source} names a root {name!r}",
            expected=f"a name of letters, digits, `_`, `-`, `.` and blanks before the folder, such as {EXAMPLE}",
            remedy=f"choose another name; a plain folder of that name is ./{part}",
        )
    absolute = _located(folder, source)
    if _SEPARATOR.search(str(absolute)):
        raise SettingError(
            f"{source}: the folder {absolute} of the root {name} contains what begins another root",
            expected="a folder without `;NAME=/` in its path",
            remedy="rename the folder, or name a link that leads to it",
        )
    return name, absolute
