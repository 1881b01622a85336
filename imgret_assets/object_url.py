"""The address of an object in an object store, or of all objects below a prefix: `s3://bucket/prefix/a.jpg`.

Belongs here: the text of an address, and its parts. Not here: asking a store (`domain.objects`), the image roots of a
home (`image_roots`).
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeAlias
from urllib.parse import quote

from imgret_assets.errors import SettingError

SCHEMES = ("s3", "gs", "az")
URL_START = rf"(?:{'|'.join(SCHEMES)})://"
# pathlib and the shell's completion make one slash of two.
_URL = re.compile(rf"({'|'.join(SCHEMES)}):/{{1,2}}(.*)", re.DOTALL)
_OTHER_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,221}")


@dataclass(frozen=True, order=True)
class ObjectUrl:
    """An object, or a prefix of objects as a folder is one of files.

    Attributes:
        scheme: one of `SCHEMES`.
        bucket: the bucket's name; of `az`, the container's.
        key: of the object, or the prefix without a slash at its end; empty for the bucket itself.
    """

    scheme: str
    bucket: str
    key: str = ""

    @classmethod
    def parse(cls, text: str, source: str) -> "ObjectUrl":
        """Parse an address.

        Args:
            text: the address; a slash at its end counts for nothing.
            source: where it is from, for messages.

        Raises:
            SettingError: the bucket's name is none, or a part of the key is empty, `.` or `..`. A text with a login in
                it is not repeated.
        """
        matched = _URL.fullmatch(text)
        if matched is None:
            raise SettingError(f"{source} is no address of objects", expected=f"one such as {SCHEMES[0]}://bucket/key")
        scheme, rest = matched.groups()
        bucket, _, key = rest.partition("/")
        if not _BUCKET.fullmatch(bucket):
            # It may be a key and a secret before an `@`.
            named = "a login" if "@" in bucket or ":" in bucket else f"{bucket!r}"
            raise SettingError(
                f"{source} has {named} in place of a bucket's name after {scheme}://",
                expected="a bucket's name alone, such as s3://bucket/prefix",
                remedy="put credentials into the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)",
            )
        key = key.removesuffix("/")
        if key and any(part in ("", ".", "..") for part in key.split("/")):
            raise SettingError(f"{source}: {text} has an empty part, `.` or `..` in its prefix")
        return cls(scheme, bucket, key)

    @property
    def name(self) -> str:
        """The last part of the key; empty for the bucket itself."""
        return self.key.rpartition("/")[2]

    @property
    def store(self) -> "ObjectUrl":
        """The bucket."""
        return ObjectUrl(self.scheme, self.bucket)

    def __truediv__(self, path: str | os.PathLike[str]) -> "ObjectUrl":
        """Return the object at a relative path below this prefix."""
        return self.joinpath(*PurePosixPath(path).parts)

    def joinpath(self, *parts: str) -> "ObjectUrl":
        """Return the object at the parts of a relative path below this prefix."""
        return ObjectUrl(self.scheme, self.bucket, "/".join([*([self.key] if self.key else []), *parts]))

    def relative(self, other: "ObjectUrl") -> str | None:
        """Return the path of another object below this prefix, empty for the prefix itself; None for one elsewhere."""
        if other == self:
            return ""
        start = f"{self.key}/" if self.key else ""
        if other.store != self.store or not other.key.startswith(start):
            return None
        return other.key.removeprefix(start)

    def __str__(self) -> str:
        """Return the address, with the key as it is."""
        return f"{self.scheme}://{self.bucket}" + (f"/{self.key}" if self.key else "")

    def __fspath__(self) -> str:
        """Return the address. There is no file with such a name, so that what opens it as one finds nothing."""
        return str(self)

    def as_uri(self) -> str:
        """Return the address as a link."""
        return f"{self.scheme}://{self.bucket}/{quote(self.key)}"


# Where an image is: a file or an object.
ImageFile: TypeAlias = Path | ObjectUrl


def is_url(text: str) -> bool:
    """Return whether a text begins as the address of an object does."""
    return _URL.fullmatch(text) is not None


def image_file_at(location: str | os.PathLike[str]) -> ImageFile:
    """Return the file or the object at a location, as a listing or an argument of the command line has it."""
    text = os.fspath(location)
    return ObjectUrl.parse(text, "the address") if is_url(text) else Path(location)


def check_known_scheme(text: str, source: str) -> None:
    """Raise an error if a text is an address of a kind that imgret does not know.

    Raises:
        SettingError: with those that it knows.
    """
    if (other := _OTHER_SCHEME.match(text)) is not None and other[1] not in SCHEMES:
        raise SettingError(
            f"{source} begins with {other[1]}://, where imgret finds no images",
            expected="a folder, or " + ", ".join(f"{scheme}://" for scheme in SCHEMES),
            remedy="S3-compatible stores are s3://, with AWS_ENDPOINT_URL in the environment",
        )
