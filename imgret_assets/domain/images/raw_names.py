"""Names of camera raw files: their endings, and which JPEG files have the name of the same shot.

Belongs here: names. Not here: recognising raw files by content (`domain.images.raw_decoding`,
`domain.images.file_formats`), whether such a JPEG can be used (`domain.images.raw_pairs`).
"""

from collections.abc import Iterable
from pathlib import PurePosixPath

# Lower case, without a dot.
RAW_ENDINGS = (
    *("3fr", "arw", "cr2", "cr3", "dcr", "dng", "erf", "fff", "iiq", "kdc", "mef", "mos", "mrw"),
    *("nef", "nrw", "orf", "pef", "raf", "rw2", "rwl", "sr2", "srf", "srw", "x3f"),
)
JPEG_ENDINGS = ("jpg", "jpeg", "jpe", "jfif")


def jpegs_of_shots(names: Iterable[str]) -> dict[str, list[str]]:
    """Return for each raw file the JPEG files with the same name before the ending, sorted; none are left out.

    Args:
        names: file names of one folder.
    """
    raw_files: list[str] = []
    jpegs: dict[str, list[str]] = {}
    for name in names:
        ending = PurePosixPath(name).suffix[1:].lower()
        if ending in RAW_ENDINGS:
            raw_files.append(name)
        elif ending in JPEG_ENDINGS:
            jpegs.setdefault(PurePosixPath(name).stem, []).append(name)
    found = {name: sorted(jpegs.get(PurePosixPath(name).stem, ())) for name in raw_files}
    return {name: others for name, others in found.items() if others}
