"""The first bounds of the cascade multiplied on a GPU by torch.

Belongs here: choosing the device, operands and tiles on it. Not here: the bounds and their proof
(`domain.similarity.cascade.bounds`), what becomes of a pair that passes (`domain.similarity.cascade.sieve`): later
bounds and the float64 cosine are the CPU's, so that a score is the same to the last bit whoever has multiplied.

The integers of the first bound are rounded to bfloat16, multiplied and summed in float32, and the product is rounded
to bfloat16. Importing this module does not load torch.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

DEVICE = "cuda"  # torch's name of the GPU; the same code runs on its "cpu".


def engine_for(device: str) -> str | None:
    """The engine for a device as IMGRET_DEVICE has it; None for the CPU's own.

    Asking torch costs seconds, so it is asked only where a driver is there to be found.
    """
    if device not in ("auto", "cuda") or not any(Path(file).exists() for file in ("/dev/nvidiactl", "/dev/kfd")):
        return None
    import torch

    return "cuda" if torch.cuda.is_available() else None


def operand(integers: np.ndarray) -> Any:
    """Return float32 (rows, columns) of whole numbers as a bfloat16 tensor on the GPU."""
    import torch

    return torch.from_numpy(integers).to(DEVICE).to(torch.bfloat16)


def passing(
    left: Any, right: Any, left_cuts: np.ndarray, right_cuts: np.ndarray, tile_rows: int
) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """Rows and columns of the products that reach the lower of their cutoffs, a tile at a time.

    Args:
        left: an `operand`.
        right: another, of as many columns.
        left_cuts: float64, of each row of `left`.
        right_cuts: float64, of each row of `right`.
        tile_rows: rows of `left` in a tile; halved for as long as the device's memory is too small.

    Yields:
        rows and columns int64, and how many rows a tile has had.
    """
    import torch

    # Rounded down, so that what reaches a cutoff reaches it still.
    own, theirs = (
        torch.from_numpy(np.nextafter(cuts.astype(np.float32), np.float32(-np.inf))).to(left.device)
        for cuts in (left_cuts, right_cuts)
    )
    start = 0
    with _exact_sums():
        while start < len(left):
            part = slice(start, start + tile_rows)
            try:
                passes = (left[part] @ right.T).float() >= torch.minimum(own[part, None], theirs[None, :])
                rows, columns = (found.cpu().numpy() for found in torch.nonzero(passes, as_tuple=True))
            except torch.cuda.OutOfMemoryError:
                if tile_rows == 1:
                    raise
                tile_rows = max(1, tile_rows // 2)
                torch.cuda.empty_cache()
                continue
            yield rows + start, columns, tile_rows
            start += tile_rows


@contextmanager
def _exact_sums() -> Iterator[None]:
    """Sums of products in float32, whatever the process has allowed elsewhere: the margins count on it."""
    import torch

    matmul = torch.backends.cuda.matmul
    before = matmul.allow_bf16_reduced_precision_reduction, matmul.allow_tf32
    matmul.allow_bf16_reduced_precision_reduction, matmul.allow_tf32 = False, False
    try:
        yield
    finally:
        matmul.allow_bf16_reduced_precision_reduction, matmul.allow_tf32 = before
