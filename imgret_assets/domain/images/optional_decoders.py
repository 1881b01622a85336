"""Decoders besides Pillow and tifffile: which formats need one, which are installed, and in which version.

Belongs here: the package and the extra of each format. Not here: decoding (`domain.images.heif_decoding`,
`domain.images.jpegxl_decoding`, `domain.images.raw_decoding`), formats by content (`domain.images.file_formats`).

A manifest stores `decoder_versions`: when they change, the files that had no decoder are tried again, and no others
(`domain.images.manifest`).
"""

import importlib.metadata
import importlib.util
from dataclasses import dataclass
from functools import lru_cache

from imgret_assets.domain.images.file_formats import HEIF, JPEG_XL, RAW
from imgret_assets.locations import install_command


@dataclass(frozen=True)
class OptionalDecoder:
    """The package that decodes a format.

    Attributes:
        module: name that is imported.
        package: name that is installed.
        extra: the extra of imgret that installs it; None for a package that imgret always needs.
        title: of the format, in messages.
    """

    module: str
    package: str
    extra: str | None
    title: str


DECODERS = {
    HEIF: OptionalDecoder("pi_heif", "pi-heif", None, "HEIC/HEIF"),
    JPEG_XL: OptionalDecoder("imagecodecs", "imagecodecs", None, "JPEG XL"),
    RAW: OptionalDecoder("rawpy", "rawpy", "raw", "camera raw"),
}


def is_installed(form: str) -> bool:
    """Return whether the decoder of a format of `DECODERS` is installed; it is not imported."""
    return importlib.util.find_spec(DECODERS[form].module) is not None


def missing_decoder(form: str | None) -> str | None:
    """Return why files of a format can't be decoded, and what to install; None if nothing is missing."""
    decoder = DECODERS.get(form or "")
    if decoder is None or form is None or is_installed(form):
        return None
    command = install_command(decoder.extra or "")
    name = decoder.package if decoder.extra is None else f"the extra imgret[{decoder.extra}]"
    return f"{decoder.title} images need {name}, which is not installed: `{command}`, then `imgret run`"


def decodable_formats() -> list[str]:
    """Return the formats of `DECODERS` whose decoder is installed."""
    return [form for form in DECODERS if is_installed(form)]


def decoder_versions() -> str:
    """Return the formats that have a decoder, each with its package's version; empty if none has."""
    return ", ".join(f"{form}: {_version(DECODERS[form].package)}" for form in decodable_formats())


@lru_cache(maxsize=len(DECODERS))
def _version(package: str) -> str:
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return package
