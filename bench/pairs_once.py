"""All pairs of many vectors, once, in a process of its own.

`python -m bench.pairs_once REAL.npy COUNT DIM FOLDER [CAP]`, where the cap is on neighbours.

Belongs here: what that process does. Not here: what becomes of its figures (`bench.pairs`).
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

from bench.pairs import THRESHOLD, grown_file
from bench.rounds import own_peak_memory_mb
from imgret_assets.domain.similarity.pair_search import SearchOptions, search_pairs


def main() -> None:
    """Grow the vectors into a file, search it as a memory map, say what it took as JSON."""
    real, (count, dim), folder = np.load(sys.argv[1]), map(int, sys.argv[2:4]), Path(sys.argv[4])
    file = folder / f"vectors-{count}.npy"
    vectors = grown_file(file, real, count, dim)
    search_pairs(np.ascontiguousarray(vectors[:9000]), THRESHOLD)  # Loads the compiled loops.
    # A million mixtures have more pairs than a search returns without a cap on neighbours.
    options = SearchOptions(max_neighbours=int(sys.argv[5]) if len(sys.argv) > 5 else None)
    started = time.perf_counter()
    found = search_pairs(vectors, THRESHOLD, options=options)
    seconds = time.perf_counter() - started
    file.unlink()
    peak = own_peak_memory_mb()
    said = {"seconds": seconds, "pairs": len(found.pairs), "left_out": found.left_out}
    print(json.dumps({**said, "peak_mb": peak, "algorithm": found.algorithm}))


if __name__ == "__main__":
    main()
