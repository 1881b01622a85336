"""What is asked of GPUs by more than one package.

Belongs here: whether there may be a GPU, and whether it has run out of memory. Not here: running a model on one
(`domain.inference.torch_engine`), comparing vectors on one (`domain.similarity.cascade`). torch is imported by the
functions that need it.
"""

from pathlib import Path

# Of NVIDIA, of AMD, and of both within Windows (WSL 2).
_DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
# Of errors for which torch has no class of its own: of Apple's GPUs, the CPU, cuBLAS and cuDNN.
_MEMORY_WORDS = ("out of memory", "can't allocate memory", "ALLOC_FAILED")


def has_driver() -> bool:
    """Return whether this machine has the driver of a GPU that torch calls `cuda`.

    Importing torch takes seconds, so it is asked only where this is true.
    """
    return any(Path(driver).exists() for driver in _DRIVERS)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether torch raised this for lack of device memory: one class on cuda, words elsewhere."""
    import torch

    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in _MEMORY_WORDS)
