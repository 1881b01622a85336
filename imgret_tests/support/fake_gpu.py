"""An embedder that says it computes on a GPU, and writes down what it was given.

Belongs here: what tests of GPUs on a cluster send to its nodes. Not here: the model (`support.fake_model`).
"""

import os
from pathlib import Path

from imgret_tests.support.fake_model import FakeEmbedder


class GpuEmbedder(FakeEmbedder):
    """Computes what `FakeEmbedder` does.

    Args:
        folder: each process that loads the model leaves a file there: the GPUs that Ray gave it, and that it sees.
    """

    hardware = "a GPU"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    @property
    def engine(self) -> str:
        return "fake-cuda-float32"

    def load(self) -> None:
        import ray

        if ray.is_initialized():
            given, seen = ray.get_gpu_ids(), os.environ.get("CUDA_VISIBLE_DEVICES")
            (self._folder / f"{os.getpid()}").write_text(f"{given} {seen} {ray.get_runtime_context().get_node_id()}")
