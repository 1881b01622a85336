"""How many copies of each kind a search over a whole collection finds, and how many false pairs it makes.

Belongs here: a folder of photos, their copies and shots of a burst; what the search makes of them; what searching for
mirrored and rotated copies costs. Not here: rates by kind of change, pair by pair (`bench.quality`).
"""

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from bench.report import Measure, Report
from imgret_assets.domain.duplicates.duplicate_search import (
    DUPLICATE_KINDS,
    EXACT,
    KINDS,
    LOOK_FIRST,
    LOOK_KINDS,
    MIRRORED,
    NEAR,
    ROTATED,
    Duplicate,
    find_near_duplicates,
    merge_duplicates,
)
from imgret_assets.domain.duplicates.duplicates_table import FINGERPRINT_METHOD
from imgret_assets.domain.duplicates.fingerprint_store import FingerprintStore
from imgret_assets.domain.duplicates.fingerprints import MAX_GREY_LEVELS, fingerprint_contents
from imgret_assets.domain.duplicates.orientation_search import OrientedCopies, find_oriented_copies
from imgret_assets.domain.duplicates.orientations import ORIENTATIONS
from imgret_assets.domain.duplicates.usable_images import UsableImage, rank_contents, with_colours

PHOTOS = 500
# What a copy of each name is taken for. A shot of a burst is taken for nothing.
EXPECTED: Mapping[str, str | None] = {
    "exact": EXACT,
    "near": NEAR,
    "bordered": NEAR,
    "grey": LOOK_FIRST,
    "mirrored": MIRRORED,
    "rotated": ROTATED,
    "burst": None,
    "mirrored burst": None,
}
_LIMITS = {"max_pixels": 200_000_000}


def run(
    report: Report, sources: Sequence[Path], work: Path, *, say: Callable[[str], None], photos: int = PHOTOS
) -> None:
    """Measure recall, false pairs and time on copies of so many photos."""
    folder = work / "copies"
    step = max(1, len(sources) // photos)
    families = dict(_write_collection(sources[::step][:photos], folder))
    images = [_as_image(folder, name) for name in sorted(families)]
    say(f"copies: {len(images):,} files written")
    store = FingerprintStore(work / "copies-work", FINGERPRINT_METHOD, "bench")
    started = time.process_time()
    contents = [(group[0].sha256, [image.path for image in group]) for group in rank_contents(images)]
    store.put_fingerprints(fingerprint_contents(contents, folder, **_LIMITS))
    grey = {sha256 for sha256, levels in store.colours().items() if levels <= MAX_GREY_LEVELS}
    groups = rank_contents(with_colours(images, grey))
    near = find_near_duplicates(groups, store, store.hashes(), folder, **_LIMITS)
    without_s = time.process_time() - started
    say(f"copies: near-duplicates found, {near.compared_pairs:,} pairs compared, {without_s:.0f} s")
    started = time.process_time()
    duplicates = {row.image.sha256 for row in near.duplicates}
    kept = [group for group in groups if group[0].sha256 not in duplicates]
    oriented = find_oriented_copies(kept, store, store.hashes(), folder, **_LIMITS)
    oriented_s = time.process_time() - started
    say(f"copies: turned copies found, {oriented.compared_pairs:,} pairs compared, {oriented_s:.0f} s")
    rows = merge_duplicates(groups, near.duplicates + near.look_first, oriented.copies)
    report.measures += list(_rates(rows, families))
    report.measures += [
        Measure("turned copies: time added to that of duplicates", 100 * oriented_s / without_s, unit="%"),
        Measure("turned copies: added per image that is kept, one core", 1000 * oriented_s / len(kept), unit="ms"),
    ]
    report.measures.append(_cost_without_copies(groups, families, folder, work))
    report.notes += [_description(oriented, len(kept)), *_false_rows(rows, families)]


def _cost_without_copies(
    groups: Sequence[Sequence[UsableImage]], families: Mapping[str, tuple[int, str]], folder: Path, work: Path
) -> Measure:
    """Return what the search costs among the originals alone, of which none is a copy."""
    store = FingerprintStore(work / "originals-work", FINGERPRINT_METHOD, "bench")
    names = [[image for image in group if families[image.path][1] == "original"] for group in groups]
    originals = [group for group in names if group]
    contents = [(group[0].sha256, [image.path for image in group]) for group in originals]
    store.put_fingerprints(fingerprint_contents(contents, folder, **_LIMITS))
    hashes = store.hashes()
    started = time.process_time()
    find_oriented_copies(originals, store, hashes, folder, **_LIMITS)
    seconds = time.process_time() - started
    return Measure(
        "turned copies: added per image without a copy, one core", 1000 * seconds / len(originals), unit="ms"
    )


def _description(oriented: OrientedCopies, kept: int) -> str:
    return f"{oriented.compared_pairs:,} pairs of {kept:,} images compared in another orientation"


def _write_collection(files: Sequence[Path], folder: Path) -> Iterator[tuple[str, tuple[int, str]]]:
    """Write each photo and its copies; yield the path of each file, its photo's number and what it is."""
    folder.mkdir(parents=True)
    for number, file in enumerate(files):
        with Image.open(file) as opened:
            photo = opened.convert("RGB")
        # Two shots of a burst: each shows 3 percent that the other does not.
        moved = max(2, round(photo.width * 0.03))
        image = photo.crop((0, 0, photo.width - moved, photo.height))
        shot = photo.crop((moved, 0, photo.width, photo.height))
        made = {
            "original": image,
            "exact": image,
            "near": image.resize((max(8, image.width // 2), max(8, image.height // 2)), Image.Resampling.LANCZOS),
            "bordered": ImageOps.expand(image, round(0.02 * max(image.size)), "white"),
            "grey": image.convert("L"),
            "mirrored": image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
            "rotated": image.transpose(ORIENTATIONS[number % 3].transpose),
            "burst": shot,
            # The mirror image of a third shot, turned by 2 degrees; that of `burst` would be a copy of it.
            "mirrored burst": ImageOps.mirror(photo.rotate(2, Image.Resampling.BICUBIC)),
        }
        for name, copy in made.items():
            path = f"{number:04d} {name}.jpg"
            copy.save(folder / path, quality=95 if name in ("original", "exact") else 85)
            yield path, (number, name)


def _as_image(folder: Path, path: str) -> UsableImage:
    data = (folder / path).read_bytes()
    with Image.open(folder / path) as image:
        size, channels = image.size, len(image.getbands())
    return UsableImage(
        path, hashlib.sha256(data).hexdigest(), len(data), *size, channels=channels, bits=8 * channels, frames=1
    )


def _rates(rows: Sequence[Duplicate], families: Mapping[str, tuple[int, str]]) -> Iterator[Measure]:
    """Yield the recall of each kind of copy, and the rows of each kind that join two photos per million such pairs.

    Two of the photos may be one picture; then such a row is right: the report lists them.
    """
    # Of each file, the one that is kept for it: a larger copy is kept for its original.
    kept = {path: path for path in families} | {
        row.image.path: row.keep.path for row in rows if row.kind in DUPLICATE_KINDS
    }
    looked_at = {(frozenset((row.image.path, row.keep.path)), row.kind) for row in rows if row.kind in LOOK_KINDS}
    totals, found, wrong = Counter[str](), Counter[str](), Counter[str]()
    for path, (number, name) in families.items():
        if name == "original":
            continue
        ends = kept[path], kept[f"{number:04d} original.jpg"]
        kinds = {kind for kind in LOOK_KINDS if (frozenset(ends), kind) in looked_at}
        is_duplicate = ends[0] == ends[1]
        expected = EXPECTED[name]
        totals[name] += 1
        if expected is None:
            found[name] += is_duplicate or bool(kinds)
        else:
            found[name] += is_duplicate if expected in DUPLICATE_KINDS else expected in kinds
    for row in rows:
        wrong[row.kind] += families[row.image.path][0] != families[row.keep.path][0]
    for name, expected in EXPECTED.items():
        share = 100 * found[name] / totals[name]
        if expected is None:
            yield Measure(f"copies: taken for a copy, {name}", share, 1, at_most=True, unit="%")
        else:
            yield Measure(f"copies: recall, {name}", share, 90, unit="%")
    sizes = np.array([*Counter(number for number, _ in families.values()).values()], float)
    pairs = len(families) * (len(families) - 1) / 2 - float((sizes * (sizes - 1) / 2).sum())
    for kind in KINDS:
        yield Measure(f"copies: rows of two photos per million pairs, {kind}", 1e6 * wrong[kind] / pairs)


def _false_rows(rows: Sequence[Duplicate], families: Mapping[str, tuple[int, str]]) -> Iterator[str]:
    """Yield the rows that join two photos, to be looked at."""
    for row in rows:
        if families[row.image.path][0] != families[row.keep.path][0]:
            yield f"false: {row.kind} {row.image.path} | {row.keep.path} | {row.reason}"
