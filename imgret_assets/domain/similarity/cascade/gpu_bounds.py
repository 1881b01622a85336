"""The first bounds of the cascade, multiplied on a GPU by torch.

Belongs here: finding a GPU, operands and tiles on it. Not here: the bounds and their proof
(`domain.similarity.cascade.bounds`), what happens to a pair that passes (`domain.similarity.cascade.sieve`): later
bounds and exact scores are computed on the CPU, so that a score is the same to the last bit on every engine.

The integers of the first bound are scaled by a power of two and rounded to float16, multiplied and summed in float32,
and the product is rounded to float16. A GPU multiplies bfloat16 no faster, and that has eight times the error.
Importing this module does not load torch.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from imgret_assets.domain.runtime import gpus

# torch's name of the GPU; with "cpu" the same code runs on the CPU.
DEVICE = "cuda"
# Of the integers, which are below 2^15: float16 ends at 65,504.
_SCALE = 2.0**-15


def gpu_is_usable(device: str) -> bool:
    """Return whether a GPU may multiply, by the value of IMGRET_DEVICE and by the machine.

    Importing torch takes seconds, so it is imported only where there is a driver.
    """
    if device not in ("auto", "cuda") or not gpus.has_driver():
        return False
    import torch

    return torch.cuda.is_available()


def operand(integers: np.ndarray) -> Any:
    """Return float32 (rows, columns) of whole numbers up to 32,767 as a float16 tensor on the GPU, times 2^-15."""
    import torch

    return (torch.from_numpy(integers).to(DEVICE) * _SCALE).to(torch.float16)


def passing_tiles(
    left: Any, right: Any, left_cutoffs: np.ndarray, right_cutoffs: np.ndarray, tile_rows: int
) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """Yield rows and columns of the products that reach the lower of their cutoffs, a tile at a time.

    Args:
        left: an `operand`.
        right: an `operand` of as many columns.
        left_cutoffs: float64, of each row of `left`, for products of the integers.
        right_cutoffs: float64, of each row of `right`.
        tile_rows: rows of `left` in a tile; halved for as long as the GPU's memory is too small.

    Yields:
        Rows int64, columns int64, and the number of rows of a tile.

    Raises:
        RuntimeError: the GPU's memory is too small for a tile of one row.
    """
    import torch

    # Rounded down, so that a product that reaches a cutoff still reaches it.
    left_cuts, right_cuts = (
        torch.from_numpy(np.nextafter((cutoffs * _SCALE**2).astype(np.float32), np.float32(-np.inf))).to(left.device)
        for cutoffs in (left_cutoffs, right_cutoffs)
    )
    start = 0
    with _float32_sums():
        while start < len(left):
            part = slice(start, start + tile_rows)
            try:
                passes = (left[part] @ right.T).float() >= torch.minimum(left_cuts[part, None], right_cuts[None, :])
                rows, columns = (places.cpu().numpy() for places in torch.nonzero(passes, as_tuple=True))
            except RuntimeError as error:
                if tile_rows == 1 or not gpus.is_out_of_memory(error):
                    raise
                tile_rows = max(1, min(tile_rows, len(left)) // 2)
            else:
                yield rows + start, columns, tile_rows
                start += tile_rows
                continue
            # After the error, whose frames hold the tile.
            torch.cuda.empty_cache()


@contextmanager
def _float32_sums() -> Iterator[None]:
    """Sum products in float32 within the block, whatever the process allows elsewhere: the margins assume it."""
    import torch

    matmul = torch.backends.cuda.matmul
    allowed = matmul.allow_fp16_reduced_precision_reduction, matmul.allow_fp16_accumulation
    matmul.allow_fp16_reduced_precision_reduction, matmul.allow_fp16_accumulation = False, False
    try:
        yield
    finally:
        matmul.allow_fp16_reduced_precision_reduction, matmul.allow_fp16_accumulation = allowed
