import pytest
import torch

from imgret_assets.domain.similarity.cascade import gpu_bounds


@pytest.fixture(autouse=True)
def _gpu_code_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the code of the engine `cuda` by torch on the CPU where there is no GPU: no test needs one."""
    if not torch.cuda.is_available():
        monkeypatch.setattr(gpu_bounds, "DEVICE", "cpu")
