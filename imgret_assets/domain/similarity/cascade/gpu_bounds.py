"""The first bounds of the cascade, multiplied on a GPU by torch.

Belongs here: finding a GPU, operands and tiles on it. Not here: the bounds and their proof
(`domain.similarity.cascade.bounds`), what happens to a pair that passes (`domain.similarity.cascade.sieve`): later
bounds and exact scores are computed on the CPU, so that a score is the same to the last bit on every engine.

The integers of the first bound are rounded to bfloat16, multiplied and summed in float32, and the product is rounded to
bfloat16. Importing this module does not load torch.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

# torch's name of the GPU; with "cpu" the same code runs on the CPU.
DEVICE = "cuda"
_DRIVERS = ("/dev/nvidiactl", "/dev/kfd")


def gpu_is_usable(device: str) -> bool:
    """Return whether a GPU may multiply, by the value of IMGRET_DEVICE and by the machine.

    Importing torch takes seconds, so it is imported only where there is a driver.
    """
    if device not in ("auto", "cuda") or not any(Path(driver).exists() for driver in _DRIVERS):
        return False
    import torch

    return torch.cuda.is_available()


def operand(integers: np.ndarray) -> Any:
    """Return float32 (rows, columns) of whole numbers as a bfloat16 tensor on the GPU."""
    import torch

    return torch.from_numpy(integers).to(DEVICE).to(torch.bfloat16)


def passing_tiles(
    left: Any, right: Any, left_cutoffs: np.ndarray, right_cutoffs: np.ndarray, tile_rows: int
) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """Yield rows and columns of the products that reach the lower of their cutoffs, a tile at a time.

    Args:
        left: an `operand`.
        right: an `operand` of as many columns.
        left_cutoffs: float64, of each row of `left`.
        right_cutoffs: float64, of each row of `right`.
        tile_rows: rows of `left` in a tile; halved for as long as the GPU's memory is too small.

    Yields:
        Rows int64, columns int64, and the number of rows of a tile.
    """
    import torch

    # Rounded down, so that a product that reaches a cutoff still reaches it.
    left_cuts, right_cuts = (
        torch.from_numpy(np.nextafter(cutoffs.astype(np.float32), np.float32(-np.inf))).to(left.device)
        for cutoffs in (left_cutoffs, right_cutoffs)
    )
    start = 0
    with _float32_sums():
        while start < len(left):
            part = slice(start, start + tile_rows)
            try:
                passes = (left[part] @ right.T).float() >= torch.minimum(left_cuts[part, None], right_cuts[None, :])
                rows, columns = (places.cpu().numpy() for places in torch.nonzero(passes, as_tuple=True))
            except torch.cuda.OutOfMemoryError:
                if tile_rows == 1:
                    raise
                tile_rows = max(1, tile_rows // 2)
                torch.cuda.empty_cache()
                continue
            yield rows + start, columns, tile_rows
            start += tile_rows


@contextmanager
def _float32_sums() -> Iterator[None]:
    """Sum products in float32 within the block, whatever the process allows elsewhere: the margins assume it."""
    import torch

    matmul = torch.backends.cuda.matmul
    allowed = matmul.allow_bf16_reduced_precision_reduction, matmul.allow_tf32
    matmul.allow_bf16_reduced_precision_reduction, matmul.allow_tf32 = False, False
    try:
        yield
    finally:
        matmul.allow_bf16_reduced_precision_reduction, matmul.allow_tf32 = allowed
