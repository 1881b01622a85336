"""OpenVINO's vectors are torch's, and asking for one needs no torch; needs torch itself, no network."""

import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from imgret_assets.domain.inference import engine_agreement, openvino_engine
from imgret_assets.domain.inference.engine_agreement import known_agreements, measure_agreement
from imgret_assets.domain.inference.engine_selection import choose_embedder
from imgret_assets.domain.inference.openvino_engine import OpenVinoEmbedder, import_openvino
from imgret_assets.domain.inference.torch_engine import TorchEmbedder
from imgret_assets.domain.models.registry import Model, Preprocessing, resolve
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.errors import LockTimeoutError, ModelError, SettingError
from imgret_assets.settings import load_settings
from imgret_tests.support.fakes import picture
from imgret_tests.support.processes import Process


@pytest.fixture(scope="module")
def model(lite0_home: Path) -> Model:
    return resolve(open_home(load_settings({"home": lite0_home})), "efficientnet_lite0")


@pytest.fixture(scope="module")
def embedder(model: Model, lite0_home: Path) -> OpenVinoEmbedder:
    loaded = OpenVinoEmbedder(model, lite0_home / "models", batch_size=4)
    loaded.load()
    return loaded


def test_its_vectors_are_torchs(embedder: OpenVinoEmbedder, model: Model) -> None:
    batch = np.stack([embedder.prepare(picture(seed)) for seed in range(5)])
    reference = TorchEmbedder(model, device="cpu").embed(batch)
    vectors = embedder.embed(batch)
    assert vectors.dtype == np.float32
    assert measure_agreement(reference, vectors, "vectors").least_cosine > 0.999999
    np.testing.assert_allclose(vectors, reference, atol=1e-4)


def test_a_vector_does_not_depend_on_its_batch(embedder: OpenVinoEmbedder) -> None:
    batch = np.stack([embedder.prepare(picture(seed)) for seed in range(3)])
    np.testing.assert_array_equal(embedder.embed(batch)[2], embedder.embed(batch[2:])[0])


def test_a_batch_of_none_gives_none(embedder: OpenVinoEmbedder) -> None:
    assert embedder.embed(np.empty((0, 224, 224, 3), np.uint8)).shape == (0, 1280)


def test_the_converted_network_needs_no_torch(embedder: OpenVinoEmbedder, lite0_home: Path) -> None:
    script = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from imgret_assets.domain.storage.home import open_home\n"
        "from imgret_assets.domain.models.registry import resolve\n"
        "from imgret_assets.domain.inference.openvino_engine import OpenVinoEmbedder\n"
        "from imgret_assets.settings import load_settings\n"
        "home = open_home(load_settings({'home': sys.argv[1]}))\n"
        "embedder = OpenVinoEmbedder(resolve(home, 'efficientnet_lite0'), Path(sys.argv[1]) / 'models')\n"
        "vector = embedder.embed(np.full((1, 224, 224, 3), 60, np.uint8))\n"
        "print(vector.shape, sorted({'torch', 'timm'} & set(sys.modules)))\n"
    )
    assert embedder.converted.is_file()
    done = subprocess.run(
        [sys.executable, "-c", script, str(lite0_home)], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "(1, 1280) []"


def test_a_conversion_by_another_run_is_waited_for_no_longer_than_the_setting_says(home: Home) -> None:
    hold = """
from pathlib import Path
from imgret_assets.domain.storage import locks
with locks.hold(Path(sys.argv[1]), ["converting"], timeout_s=30, purpose="converting a model"):
    say("held")
    wait()
"""
    impatient = replace(home, settings=replace(home.settings, lock_timeout_s=0.2))
    asked = choose_embedder(impatient, resolve(home, "efficientnet_lite0"), device="cpu")
    assert isinstance(asked, OpenVinoEmbedder)
    with Process(hold, [asked.own_folder]) as holder:
        assert holder.hear() == "held"
        with pytest.raises(LockTimeoutError, match=f"converting is held by process {holder.popen.pid} .*within 0.2 s"):
            asked.load()


def test_openvino_reports_its_use_to_nobody() -> None:
    script = (
        "import sys\n"
        "from imgret_assets.domain.inference.openvino_engine import import_openvino\n"
        "import_openvino().convert_model\n"
        "import openvino.tools.ovc.telemetry_utils as used\n"
        "print(used.tm.__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "openvino.tools.ovc.telemetry_stub"


def test_nothing_unfinished_is_left(embedder: OpenVinoEmbedder, lite0_home: Path) -> None:
    assert embedder.loaded
    assert not list((lite0_home / "models").rglob(".converting-*"))


def test_how_far_it_is_from_torch_is_measured_once_and_kept(embedder: OpenVinoEmbedder) -> None:
    ((key, found),) = known_agreements(embedder.own_folder).items()
    assert key.startswith(f"{embedder.engine} ")
    assert found.least_cosine > 0.9999
    assert 0 <= found.largest_score_change < 1e-3


@pytest.fixture(scope="module")
def converted(model: Model) -> Any:
    """The network as OpenVINO converts it, before the pixels' normalising is put in front of it."""
    import torch

    example = torch.zeros(1, 3, 224, 224)
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return import_openvino().convert_model(model.build(), example_input=example, input=[1, 3, 224, 224])


@pytest.mark.parametrize(
    "wrong", [{"mean": (0.48, 0.498, 0.498)}, {"std": (0.502, 0.502, 0.52)}, {"mean": (0.498, 0.498, 0.51)}]
)
def test_a_wrong_constant_in_the_engine_is_refused(
    embedder: OpenVinoEmbedder,
    converted: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    wrong: dict[str, tuple[float, float, float]],
) -> None:
    """The graph's own normalising is wrong by a few grey levels in one channel."""
    model = embedder.model
    broken = OpenVinoEmbedder(model, tmp_path / "models")
    # Conversion and torch's vectors are right and take seconds: those that are there are used.
    monkeypatch.setattr(Model, "build", lambda _: None)
    monkeypatch.setattr(import_openvino(), "convert_model", lambda *_, **__: converted.clone())
    broken.own_folder.mkdir(parents=True)
    shutil.copy(embedder.own_folder / "reference.npy", broken.own_folder)
    right = model.space.preprocessing
    changed = Preprocessing(**{**right.__dict__, **wrong})
    real = OpenVinoEmbedder._with_normalising

    def with_normalising(self: OpenVinoEmbedder, network: object) -> object:
        object.__setattr__(self.space, "preprocessing", changed)
        try:
            return real(self, network)
        finally:
            object.__setattr__(self.space, "preprocessing", right)

    monkeypatch.setattr(OpenVinoEmbedder, "_with_normalising", with_normalising)
    with pytest.raises(ModelError, match=r"have a cosine of 0\.9.*IMGRET_ENGINE=torch"):
        broken.embed(np.zeros((1, 224, 224, 3), np.uint8))
    assert not broken.loaded
    assert known_agreements(broken.own_folder) == {}


def test_a_stream_comes_whole_and_in_any_order(embedder: OpenVinoEmbedder) -> None:
    batch = np.stack([embedder.prepare(picture(seed)) for seed in range(11)])
    expected = embedder.embed(batch)
    before = embedder.forward_s
    found = dict(embedder.stream((str(row), one) for row, one in enumerate(batch)))
    assert embedder.forward_s > before
    for row, vector in enumerate(expected):
        np.testing.assert_array_equal(found[str(row)], vector)


def test_requests_are_made_as_they_are_needed(embedder: OpenVinoEmbedder) -> None:
    """A query is one picture: it waits for no request that it does not use."""
    compiled = embedder.load()
    picture_ = embedder.prepare(picture(1))

    class Counting:
        made = 0

        def get_property(self, name: str) -> Any:
            return compiled.get_property(name)

        def create_infer_request(self) -> Any:
            Counting.made += 1
            return compiled.create_infer_request()

    embedder._compiled = Counting()  # type: ignore[assignment]
    try:
        embedder.embed(picture_[np.newaxis])
        assert Counting.made == 1
        Counting.made = 0
        embedder.embed(np.stack([picture_] * 40))
        at_once = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        assert Counting.made == min(40, at_once + min(at_once, 16))
    finally:
        embedder._compiled = compiled


def test_a_stream_that_nobody_reads_to_the_end_does_no_harm(embedder: OpenVinoEmbedder) -> None:
    batch = np.stack([embedder.prepare(picture(seed)) for seed in range(9)])
    stream = embedder.stream((str(row), one) for row, one in enumerate(batch))
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert embedder.embed(batch[:1]).shape == (1, 1280)


class PretendedCpu:
    """OpenVINO's core on a CPU with or without bfloat16, whatever this machine has; it computes in float32."""

    def __init__(self, capabilities: list[str]) -> None:
        self.core = import_openvino().Core()
        self.capabilities = capabilities

    def get_property(self, device: str, name: str) -> Any:
        return self.capabilities if name == "OPTIMIZATION_CAPABILITIES" else self.core.get_property(device, name)

    def compile_model(self, path: Path, device: str, config: dict[str, Any]) -> Any:
        return self.core.compile_model(path, device, {**config, "INFERENCE_PRECISION_HINT": "f32"})


@pytest.fixture
def pretend_cpu(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretend a CPU, and whether its bfloat16 vectors agree with the reference."""

    def pretend(*, bfloat16: bool, agrees: bool) -> None:
        version = import_openvino().get_version()
        core = PretendedCpu(["FP32", "BF16"] if bfloat16 else ["FP32"])
        runtime = SimpleNamespace(Core=lambda: core, get_version=lambda: version)

        def ensure_agreement(_model: Model, _folder: Path, key: str, _vectors_of: object) -> None:
            if "bfloat16" in key and not agrees:
                raise ModelError("the vectors of bfloat16 differ from the reference")

        monkeypatch.setattr(openvino_engine, "import_openvino", lambda: runtime)
        monkeypatch.setattr(engine_agreement, "ensure_agreement", ensure_agreement)

    return pretend


def test_bfloat16_is_refused_on_a_cpu_without_it(
    model: Model, embedder: OpenVinoEmbedder, pretend_cpu: Callable[..., None]
) -> None:
    pretend_cpu(bfloat16=False, agrees=True)
    with pytest.raises(SettingError, match="precision bfloat16 was asked for, but this CPU has no instructions"):
        OpenVinoEmbedder(model, embedder.folder, precision="bfloat16").load()
    assert OpenVinoEmbedder(model, embedder.folder).engine == "openvino-cpu-float32"


def test_bfloat16_is_taken_on_a_cpu_with_it_if_the_vectors_agree(
    model: Model, embedder: OpenVinoEmbedder, pretend_cpu: Callable[..., None]
) -> None:
    pretend_cpu(bfloat16=True, agrees=True)
    for precision in ("bfloat16", "auto"):
        automatic = OpenVinoEmbedder(model, embedder.folder, precision=precision)
        automatic.load()
        assert automatic.engine == "openvino-cpu-bfloat16"


def test_bfloat16_is_not_taken_on_a_cpu_with_it_if_the_vectors_differ(
    model: Model, embedder: OpenVinoEmbedder, pretend_cpu: Callable[..., None]
) -> None:
    pretend_cpu(bfloat16=True, agrees=False)
    with pytest.raises(ModelError, match="the vectors of bfloat16 differ"):
        OpenVinoEmbedder(model, embedder.folder, precision="bfloat16").load()
    assert OpenVinoEmbedder(model, embedder.folder).engine == "openvino-cpu-float32"


def test_a_precision_openvino_has_not_is_refused(model: Model, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="precision is 'float16' with OpenVINO"):
        OpenVinoEmbedder(model, tmp_path, precision="float16")


def test_a_batch_size_of_zero_is_refused(model: Model, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="batch_size is 0"):
        OpenVinoEmbedder(model, tmp_path, batch_size=0)
