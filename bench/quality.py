"""How often near-duplicates are kept and other pictures refused, by kind of change, and the time a pair takes.

Belongs here: the rates of the method and of the earlier one. Not here: the pairs (`bench.quality_pairs`), the method
(`imgret_assets.domain.duplicates.confirmation`).

The earlier method: hashes that differ in at most 64 bits, small grey images that correlate by 0.96, and embeddings
whose cosine is 0.5 or more.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from bench.homes import open_bench_home
from bench.quality_pairs import COPY, OTHER, Pair, document_pairs, photo_pairs
from bench.report import Measure, Report
from imgret_assets.domain.duplicates.confirmation import LOOK_VERDICTS, NEAR_VERDICTS, compare_images
from imgret_assets.domain.duplicates.duplicate_search import MIN_CORRELATION
from imgret_assets.domain.duplicates.fingerprints import correlate, fingerprint_image
from imgret_assets.domain.duplicates.keepers import RADIUS_BITS
from imgret_assets.domain.duplicates.pixel_comparison import compare_further_frames
from imgret_assets.domain.inference.embedder import Embedder
from imgret_assets.domain.inference.engine_selection import choose_embedder
from imgret_assets.domain.models.resolution import resolve

PHOTOS, DOCUMENTS = 40, 12
EARLIER_CORRELATION, EARLIER_COSINE = 0.96, 0.5
_MAX_PIXELS = 200_000_000


@dataclass(frozen=True)
class _Outcome:
    """What became of a pair: the columns of the table.

    Attributes:
        is_candidate: the hashes find the pair.
        earlier: the earlier method takes it for a near-duplicate.
        near: the method takes it for a near-duplicate.
        look_first: the method says to look at both.
        seconds: of one core for the comparison by pixels; None if the pair is not compared.
    """

    is_candidate: bool
    earlier: bool
    near: bool
    look_first: bool
    seconds: float | None


def run(
    report: Report,
    sources: Sequence[Path],
    work: Path,
    *,
    say: Callable[[str], None],
    photos: int = PHOTOS,
    documents: int = DOCUMENTS,
) -> None:
    """Measure the rates on `photos` of the photos and on as many drawn documents of each kind."""
    home = open_bench_home(work / "home-quality", model="efficientnet_lite0")
    embedder = choose_embedder(home, resolve(home))
    rows: dict[tuple[str, str, str], list[_Outcome]] = defaultdict(list)
    step = max(1, len(sources) // photos)
    for pair in chain(photo_pairs(sources[::step][:photos]), document_pairs(range(documents))):
        rows[pair.expected, pair.subject, pair.change].append(_outcome(pair, embedder))
    outcomes = {
        expected: [row for key in rows for row in rows[key] if key[0] == expected] for expected in (COPY, OTHER)
    }
    seconds = [row.seconds for row in chain(*outcomes.values()) if row.seconds is not None]
    say(f"quality: {len(seconds):,} pairs compared by their pixels")
    report.notes += _table(rows)
    kept = [row.near for row in outcomes[COPY] if row.is_candidate]
    taken = [row.near for row in outcomes[OTHER]]
    taken_earlier = [row.earlier for row in outcomes[OTHER]]
    report.measures += [
        Measure("copies that are near-duplicates, of candidates", 100 * float(np.mean(kept)), 97, unit="%"),
        Measure("other pictures taken for one", 100 * float(np.mean(taken)), 2, at_most=True, unit="%"),
        Measure("other pictures taken for one, earlier method", 100 * float(np.mean(taken_earlier)), unit="%"),
        Measure("comparison of a pair, one core", 1000 * float(np.mean(seconds)), unit="ms"),
    ]


def _table(rows: dict[tuple[str, str, str], list[_Outcome]]) -> list[str]:
    """Return the lines of a Markdown table: shares of the pairs of each kind."""
    lines = [
        "| expected | images | change | pairs | candidates | earlier method | near | look_first | ms a pair |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for (expected, subject, change), outcomes in sorted(rows.items()):
        columns = [(row.is_candidate, row.earlier, row.near, row.look_first) for row in outcomes]
        shares = " | ".join(f"{float(np.mean(column)):.2f}" for column in zip(*columns, strict=True))
        seconds = [row.seconds for row in outcomes if row.seconds is not None]
        ms = f"{1000 * float(np.mean(seconds)):.0f}" if seconds else ""
        lines.append(f"| {expected} | {subject} | {change} | {len(outcomes)} | {shares} | {ms} |")
    return lines


def _outcome(pair: Pair, embedder: Embedder) -> _Outcome:
    one, two = fingerprint_image(pair.one), fingerprint_image(pair.two)
    if one.hash is None or two.hash is None or one.grey is None or two.grey is None:
        return _Outcome(is_candidate=False, earlier=False, near=False, look_first=False, seconds=None)
    bits = int(np.bitwise_count(np.frombuffer(one.hash, np.uint8) ^ np.frombuffer(two.hash, np.uint8)).sum())
    correlation = float(correlate(one.grey, two.grey[np.newaxis])[0])
    earlier = bits <= RADIUS_BITS and correlation >= EARLIER_CORRELATION and _cosine(pair, embedder) >= EARLIER_COSINE
    if bits > RADIUS_BITS or correlation < MIN_CORRELATION:
        return _Outcome(bits <= RADIUS_BITS, earlier, near=False, look_first=False, seconds=None)
    started = time.process_time()
    comparison = compare_images(pair.one, pair.two)
    seconds = time.process_time() - started
    if pair.files is not None and comparison.verdict in NEAR_VERDICTS:
        comparison = compare_further_frames(comparison, *pair.files, max_pixels=_MAX_PIXELS)
    verdict = comparison.verdict
    return _Outcome(True, earlier, verdict in NEAR_VERDICTS, verdict in LOOK_VERDICTS, seconds)


def _cosine(pair: Pair, embedder: Embedder) -> float:
    a, b = embedder.embed(np.stack([embedder.prepare(image) for image in (pair.one, pair.two)])).astype(np.float64)
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))
