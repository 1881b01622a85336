"""How good the answers are, where labels are known.

Belongs here: ranking measures over a whole collection. Not here: answering one query (`domain.search`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from imgret_assets.domain.pairs import Embeddings


@dataclass(frozen=True)
class Precision:
    """Share of images whose nearest others have their label: the first one, and the first ten."""

    first: float
    first_ten: float
    images: int


def precision(embeddings: Embeddings, labels: Sequence[str | None], *, block_rows: int = 1024) -> Precision:
    """Ask with every image for its nearest others, exact copies left out.

    An exact copy is found by anything, so it would only flatter the figure. Images without a label are candidates
    but not counted.

    Args:
        embeddings: all usable vectors.
        labels: of each row; None where it is not known.
        block_rows: queries compared at once.
    """
    vectors = embeddings.vectors.astype(np.float64)
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    _, content = np.unique(np.array(embeddings.contents, dtype=object).astype(str), return_inverse=True)
    names = np.array([label or "" for label in labels])
    first: list[bool] = []
    ten: list[float] = []
    for start in range(0, len(unit), block_rows):
        rows = np.arange(start, min(start + block_rows, len(unit)))
        scores = unit[rows] @ unit.T
        scores[content[rows][:, None] == content[None, :]] = -np.inf
        best = np.argsort(-scores, axis=1, kind="stable")[:, :10]
        for row, nearest in zip(rows, best, strict=True):
            nearest = nearest[np.isfinite(scores[row - start, nearest])]
            if names[row] and len(nearest):
                same = names[nearest] == names[row]
                first.append(bool(same[0]))
                ten.append(float(same.mean()))
    return Precision(float(np.mean(first)) if first else 0.0, float(np.mean(ten)) if ten else 0.0, len(first))
