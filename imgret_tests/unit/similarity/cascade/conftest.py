import pytest

from imgret_assets.domain.similarity.cascade import gpu_bounds


@pytest.fixture(autouse=True)
def _gpu_code_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the code of the engine `cuda` by torch on the CPU: no test machine needs a GPU."""
    monkeypatch.setattr(gpu_bounds, "DEVICE", "cpu")
