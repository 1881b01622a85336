"""A process that lists and embeds a folder once and ends, so that its peak memory can be read.

Arguments: the folder of pictures, a new home, a home whose converted models are used.
"""

import json
import sys
from pathlib import Path

from bench.homes import open_bench_home
from bench.rounds import own_peak_memory_mb
from imgret_assets.domain.embeddings.embeddings_table import refresh_embeddings
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.inference.engine_selection import choose_embedder
from imgret_assets.domain.models.resolution import resolve


def main() -> None:
    """Do it, and print what was done."""
    images, folder, models = map(Path, sys.argv[1:])
    folder.mkdir(parents=True)
    (folder / "models").symlink_to(models / "models")
    home = open_bench_home(folder, images=images, model="efficientnet_lite0")
    refresh_manifest(home)
    report = refresh_embeddings(home, choose_embedder(home, resolve(home)))
    said = {"embedded": report.embedded, "per_second": report.images_per_second, "peak_mb": own_peak_memory_mb()}
    print(json.dumps(said))


if __name__ == "__main__":
    main()
