"""All pairs of many vectors on a cluster of this machine, then in this process, in a process of its own.

`python -m bench.cluster_once REAL.npy COUNT DIM FOLDER`. Belongs here: what that process does. Not here: what becomes
of its figures (`bench.cluster`).
"""

import hashlib
import json
import sys
import time
from pathlib import Path

import numpy as np

from bench.pairs import THRESHOLD, grown_file
from bench.rounds import own_peak_memory_mb
from imgret_assets.domain.cluster.ray_cluster import connect
from imgret_assets.domain.similarity.pair_search import SearchOptions, search_pairs
from imgret_assets.domain.similarity.pieces.answers import AnswerFiles
from imgret_tests.support.ray_nodes import running_nodes

_STORE_BYTES = 1 << 30


def main() -> None:
    """Grow the vectors into a file, search it as a memory map in both ways, say what it took as JSON."""
    real, (count, dim), folder = np.load(sys.argv[1]), map(int, sys.argv[2:4]), Path(sys.argv[4])
    file = folder / f"vectors-of-cluster-{count}.npy"
    vectors = grown_file(file, real, count, dim)
    search_pairs(np.ascontiguousarray(vectors[:9000]), THRESHOLD)  # Loads the compiled loops.
    said = {}
    with running_nodes(_STORE_BYTES) as nodes:
        for name, cluster in (("two nodes", connect(nodes.address)), ("this process", None)):
            started = time.perf_counter()
            options = SearchOptions(cluster=cluster)
            found = search_pairs(
                vectors, THRESHOLD, options=options, answers=AnswerFiles(folder / f"answers of {name}")
            )
            digest = hashlib.sha256()
            for column in (found.pairs.a, found.pairs.b, found.pairs.scores):
                digest.update(np.ascontiguousarray(column).data)
            said[name] = {
                "seconds": time.perf_counter() - started,
                "pairs": len(found.pairs),
                "digest": digest.hexdigest(),
                "peak_mb": own_peak_memory_mb(),
            }
            print(name, said[name], file=sys.stderr, flush=True)
    file.unlink()
    print(json.dumps(said))


if __name__ == "__main__":
    main()
