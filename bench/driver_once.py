"""The driver of a search of very many images, in a process of its own: `python -m bench.driver_once COUNT FOLDER`.

The vectors are left out, and the answers of pieces are made up: everything else that the driver holds is real. Belongs
here: what that process does. Not here: what becomes of its figures (`bench.driver`).
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa

from bench.homes import open_bench_home
from bench.rounds import own_peak_memory_mb
from imgret_assets.domain.embeddings.table_reader import list_embeddings
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.models.preprocessing import Preprocessing
from imgret_assets.domain.similarity.cascade.sieve import pairs_of_rows
from imgret_assets.domain.similarity.equal_vectors import RowGroups
from imgret_assets.domain.similarity.group_pairs import GroupPairs
from imgret_assets.domain.similarity.pair_search import PairCollector, SearchOptions
from imgret_assets.domain.similarity.pairs_table import write_pairs
from imgret_assets.domain.similarity.pieces.answers import Answer
from imgret_assets.domain.similarity.pieces.chunks import chunks_of, cut_rows
from imgret_assets.domain.similarity.pieces.work import Piece, compared_chunks, piece_key
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.input_snapshots import read_snapshot, write_snapshot
from imgret_assets.domain.storage.table_metadata import PairsMetadata
from imgret_assets.domain.storage.text_column import equal_texts

SPACE = EmbeddingSpace("made-up", "0" * 64, Preprocessing((4, 4), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)), 1280)
SHARDS, CHUNK_ROWS, CAP = 256, 32_768, 20
PAIRS_OF_AN_IMAGE = 10
_CLEAR_PEAK = Path("/proc/self/clear_refs")


def main() -> None:
    """Go through a search as its driver, and say what each part took as JSON."""
    count, folder = int(sys.argv[1]), Path(sys.argv[2])
    parts: dict[str, dict[str, float]] = {}

    @contextmanager
    def measured(name: str) -> Iterator[None]:
        if _CLEAR_PEAK.is_file():
            _CLEAR_PEAK.write_text("5", encoding="ascii")
        started = time.perf_counter()
        yield
        parts[name] = {"seconds": time.perf_counter() - started, "peak_mb": own_peak_memory_mb()}
        print(name, parts[name], file=sys.stderr)

    home = open_bench_home(folder / "home", images=folder, shards=SHARDS)
    with measured("making the tables (not counted)"):
        make_tables(home, count)
    with measured("listing paths and keys"):
        listing = list_embeddings(home, SPACE.id)
    with measured("snapshot, and what has changed since"):
        write_snapshot(home, "pairs", SPACE.id, listing.paths, listing.vector_keys, listing.coverage)
        earlier_paths, earlier_keys = read_snapshot(home, "pairs", SPACE.id)
        places = earlier_paths.places_of(listing.paths.array)
        assert equal_texts(listing.vector_keys, earlier_keys, places).all()
        del earlier_paths, earlier_keys, places
        pa.default_memory_pool().release_unused()
    rng = np.random.default_rng(17)
    with measured("chunks and pieces"):
        digests = rng.integers(0, 2**63, (count, 2), np.uint64)
        cut = cut_rows(count, CHUNK_ROWS, shards=listing.shard_numbers)
        chunks = chunks_of(cut, digests)
        pieces = [
            Piece(left, right, piece_key(left, right, "pairs", 0.8))
            for left, right in compared_chunks(chunks, cut.chosen)
        ]
        order = cut.order
        del digests, cut
    with measured("collecting the answers"):
        alone = np.arange(count)
        groups = RowGroups(alone, alone, alone, np.arange(count + 1))
        options = SearchOptions(max_pairs=10**9, max_neighbours=CAP)
        grouped = GroupPairs(groups, np.empty(0, np.int64), np.empty(0))
        collector = PairCollector(grouped, options, count * (count - 1) // 2)
        share = PAIRS_OF_AN_IMAGE / count
        for number, piece in enumerate(pieces, 1):
            answer = made_up(rng, piece, round(piece.size * share * (1 if piece.is_diagonal else 2)))
            pairs = pairs_of_rows(order[piece.left.places], order[piece.right.places], answer)
            collector.add(pairs, number / len(pieces))
        found = collector.result("made up")
    with measured("writing the table"):
        metadata = PairsMetadata(
            space=SPACE.id, coverage=listing.coverage, threshold=0.8, images=count, max_neighbours=CAP
        )
        write_pairs(home, SPACE.id, found.pairs, listing.paths, metadata)
    print(json.dumps({"parts": parts, "pieces": len(pieces), "pairs": len(found.pairs)}))


def make_tables(home: Home, count: int) -> None:
    """Write manifest and embeddings of so many images, without vectors."""
    rng = np.random.default_rng(29)
    for number, shard in enumerate(home.shards):
        rows = range(number, count, SHARDS)
        paths = [f"2026/{row // 1000:05d}/photo-{row:09d}.jpg" for row in rows]
        hexadecimal = rng.bytes(32 * len(rows)).hex()
        contents = [hexadecimal[64 * place : 64 * place + 64] for place in range(len(rows))]
        listed = pa.table({"path": paths, "sha256": contents, "status": ["ok"] * len(rows)})
        tables.write(tables.manifest_path(home.warehouse, shard), listed, {"root": str(home.images)})
        embedded = listed.append_column("engine", pa.array(["openvino-cpu-float32"] * len(rows)))
        metadata = {**SPACE.as_metadata(), "shards": str(SHARDS)}
        tables.write(tables.embeddings_path(home.warehouse, SPACE.id, shard), embedded, metadata)


def made_up(rng: np.random.Generator, piece: Piece, pairs: int) -> Answer:
    """Return so many different pairs of a piece, at most as many as it has."""
    places = np.unique(rng.integers(0, piece.size, pairs))
    left, right = np.divmod(places, len(piece.right))
    if piece.is_diagonal:
        keep = left < right
        left, right = left[keep], right[keep]
    return Answer(left.astype(np.int32), right.astype(np.int32), rng.uniform(0.8, 1.0, len(left)))


if __name__ == "__main__":
    main()
