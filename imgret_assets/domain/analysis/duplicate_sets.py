"""Images that are one image for a measurement of quality: exact and near-duplicates of each other.

Belongs here: which rows of a collection are duplicates of each other. Not here: finding duplicates
(`domain.duplicates.duplicates_table`), what is measured (`domain.analysis.calibration`,
`domain.analysis.ranking_quality`).

A folder of backups has another label than the originals. A pair of an original and its backup would count as wrong,
although every embedding space finds it, and finding it is right. So would a pair of an image and the backup of another
one of its label. So of each set of duplicates one image is measured, and the others are left out.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home


def duplicates_state(home: Home) -> str:
    """Return what the duplicates table was made by: its method and its unread contents; empty if there is no table.

    Raises:
        TableError: the table is damaged.
    """
    path = tables.duplicates_path(home.warehouse)
    if not path.is_file():
        return ""
    metadata = tables.read_metadata(path)
    return f"{metadata.get('method', '')}, {metadata.get('pending', '0')} unread"


def read_duplicate_sets(home: Home, paths: Sequence[str], contents: Sequence[str]) -> list[str]:
    """Return a key for each image; duplicates of each other have equal keys, whatever the kind of duplicate.

    Without a duplicates table these are the images with equal contents. The table is used whether or not it is current.

    Args:
        home: the home.
        paths: of the images.
        contents: sha256 of each image's file.

    Raises:
        TableError: the table is damaged.
    """
    path = tables.duplicates_path(home.warehouse)
    pairs: list[tuple[str, str]] = []
    if path.is_file():
        rows = tables.read(path, ["path_from", "path_keep"])
        pairs = list(zip(rows["path_from"].to_pylist(), rows["path_keep"].to_pylist(), strict=True))
    return join_duplicates(paths, contents, pairs)


def join_duplicates(paths: Sequence[str], contents: Sequence[str], pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Return a key for each image: images of one content, or connected by pairs of paths, have equal keys.

    Args:
        paths: of the images.
        contents: of each image.
        pairs: paths of duplicates; paths of other images connect the images as well.
    """
    parents: dict[tuple[str, str], tuple[str, str]] = {}

    def root(node: tuple[str, str]) -> tuple[str, str]:
        while (parent := parents.get(node, node)) != node:
            # Halve the way, so that long chains are walked once.
            parents[node] = parents.get(parent, parent)
            node = parent
        return node

    for duplicate, keep in pairs:
        parents[root(("path", duplicate))] = root(("path", keep))
    for path, content in zip(paths, contents, strict=True):
        parents[root(("path", path))] = root(("content", content))
    return ["/".join(root(("path", path))) for path in paths]


def select_distinct(sets: Sequence[str], labels: Sequence[str | None]) -> np.ndarray:
    """Return the rows to measure with, one of each set of duplicates, ascending.

    Of a set with several labels, the image is measured whose label says most about what it shows: that of the folder of
    which the smallest share duplicates images of other folders; of equal ones the smallest folder, then the first by
    name. A folder of backups has the largest share, and is the largest if everything has a backup.

    Args:
        sets: key of each row; rows with equal keys are duplicates of each other.
        labels: label of each row; None or empty if unknown. An image with a label goes before one without.

    Returns:
        int64, one row for each key.
    """
    rows_of: dict[str, list[int]] = {}
    for row, key in enumerate(sets):
        rows_of.setdefault(key, []).append(row)
    images = Counter(label for label in labels if label)
    elsewhere: Counter[str] = Counter()
    for rows in rows_of.values():
        if len({labels[row] or "" for row in rows}) > 1:
            elsewhere.update(label for row in rows if (label := labels[row]))

    def rank(row: int) -> tuple[float, int, str, int]:
        label = labels[row]
        # Above the share of any folder.
        return (elsewhere[label] / images[label], images[label], label, row) if label else (2.0, 0, "", row)

    return np.array(sorted(min(rows, key=rank) for rows in rows_of.values()), np.int64)
