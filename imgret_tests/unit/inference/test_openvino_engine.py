"""OpenVINO gives torch's vectors, and needs torch only to convert a network. Nothing is downloaded."""

import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imgret_assets.domain.inference import model_files
from imgret_assets.domain.inference.converted_network import import_openvino
from imgret_assets.domain.inference.engine_agreement import MIN_AGREEMENT, measure_agreement
from imgret_assets.domain.inference.engine_selection import choose_embedder
from imgret_assets.domain.inference.openvino_engine import OpenVinoEmbedder
from imgret_assets.domain.inference.torch_engine import TorchEmbedder
from imgret_assets.domain.models.preprocessing import Preprocessing
from imgret_assets.domain.models.resolution import Model, record_space, resolve
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.errors import DiskFullError, LockTimeoutError, ModelError, SettingError
from imgret_assets.locations import PROJECT
from imgret_assets.settings import load_settings
from imgret_tests.support.agreement_records import recorded_agreements
from imgret_tests.support.fake_model import FakeEmbedder
from imgret_tests.support.full_disk import small_disk
from imgret_tests.support.pictures import picture
from imgret_tests.support.processes import Process

# Threads that spin until they may start, so that all of them ask for the interpreter's lock at that moment.
FIRST_INFERENCES = """
import os, sys, threading
import numpy as np
from pathlib import Path
from imgret_assets.domain.inference.openvino_engine import OpenVinoEmbedder
from imgret_assets.domain.models.resolution import resolve
from imgret_assets.domain.storage.home import open_home
from imgret_assets.settings import load_settings

home = open_home(load_settings({"home": Path(sys.argv[1]), "model": "efficientnet_lite0"}))
embedders = [OpenVinoEmbedder(resolve(home), home.path / "models") for _ in range(2)]
for embedder in embedders[: int(sys.argv[2])]:
    embedder.load()
image = np.zeros((1, *embedders[0].space.preprocessing.size, 3), np.uint8)
start, vectors = threading.Event(), []

def embed(number):
    while not start.is_set():
        pass
    vectors.append(embedders[number % len(embedders)].embed(image))

threads = [threading.Thread(target=embed, args=(number,), daemon=True) for number in range(6)]
for thread in threads:
    thread.start()
start.set()
for thread in threads:
    thread.join()
print(len(vectors), all((vector == vectors[0]).all() for vector in vectors), flush=True)
os._exit(0)
"""
FIRST_WITHIN_S = 60.0


@pytest.fixture(scope="module")
def model(lite0_home: Path) -> Model:
    return resolve(open_home(load_settings({"home": lite0_home})), "efficientnet_lite0")


@pytest.fixture(scope="module")
def embedder(model: Model, lite0_home: Path) -> OpenVinoEmbedder:
    # Not auto: what comes of it depends on the CPU.
    loaded = OpenVinoEmbedder(model, lite0_home / "models", precision="float32", batch_size=4)
    loaded.load()
    return loaded


def test_its_vectors_are_torchs(embedder: OpenVinoEmbedder, model: Model) -> None:
    batch = np.stack([embedder.prepare(picture(seed)) for seed in range(5)])
    reference = TorchEmbedder(model, embedder.folder, device="cpu").embed(batch)
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
        "from imgret_assets.domain.models.resolution import resolve\n"
        "from imgret_assets.domain.inference.openvino_engine import OpenVinoEmbedder\n"
        "from imgret_assets.locations import PROJECT; from imgret_assets.settings import load_settings\n"
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
    waiting = choose_embedder(impatient, resolve(home, "efficientnet_lite0"), device="cpu")
    assert isinstance(waiting, OpenVinoEmbedder)
    with Process(hold, [waiting.space_folder]) as holder:
        assert holder.hear() == "held"
        with pytest.raises(LockTimeoutError, match=f"converting is held by process {holder.popen.pid} .*within 0.2 s"):
            waiting.load()


def test_openvino_sends_no_telemetry() -> None:
    script = (
        "import sys\n"
        "from imgret_assets.domain.inference.converted_network import import_openvino\n"
        "import_openvino().convert_model\n"
        "import openvino.tools.ovc.telemetry_utils as used\n"
        "print(used.tm.__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "openvino.tools.ovc.telemetry_stub"


def test_no_unfinished_conversion_is_left(embedder: OpenVinoEmbedder, lite0_home: Path) -> None:
    assert embedder.loaded
    assert not list((lite0_home / "models").rglob(".converting-*"))


def test_a_conversion_that_finds_no_room_names_the_disk_and_leaves_nothing(home: Home, tmp_path: Path) -> None:
    import timm
    import torch

    # A network that is converted in a second and larger than the disk.
    weights = tmp_path / "weights.pth"
    torch.save(timm.create_model("test_resnet", pretrained=False).state_dict(), weights)
    model = record_space(home, "timm:test_resnet", weights)
    with small_disk(tmp_path / "disk", 1) as disk:
        engine = OpenVinoEmbedder(model, disk.path)
        leftover = engine.space_folder / ".converting-killed"
        leftover.mkdir(parents=True)
        (leftover / "model.bin").write_bytes(bytes(100_000))
        with pytest.raises(DiskFullError, match=r"No room on the disk for the converted model .*4 bytes .*free some"):
            engine.convert()
        assert list(engine.space_folder.iterdir()) == []


def test_its_distance_to_torch_is_measured_once_and_recorded(embedder: OpenVinoEmbedder) -> None:
    assert embedder.engine == "openvino-cpu-float32"
    known = recorded_agreements(embedder.space_folder)
    # Where the CPU has bfloat16 and it agrees, the home's other users have measured that as well.
    [found] = [agreement for key, agreement in known.items() if key.startswith(f"{embedder.engine} ")]
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
    changed = Preprocessing(**{**model.space.preprocessing.__dict__, **wrong})
    broken = OpenVinoEmbedder(replace(model, space=replace(model.space, preprocessing=changed)), tmp_path / "models")
    # Conversion and torch's vectors take seconds and are right: those of the other tests are used.
    monkeypatch.setattr(Model, "build", lambda _: None)
    monkeypatch.setattr(import_openvino(), "convert_model", lambda *_, **__: converted.clone())
    broken.space_folder.mkdir(parents=True)
    shutil.copy(embedder.space_folder / "reference.npy", broken.space_folder)
    with pytest.raises(ModelError, match=r"have a cosine of 0\.9.*IMGRET_ENGINE=torch"):
        broken.embed(np.zeros((1, 224, 224, 3), np.uint8))
    assert not broken.loaded
    assert recorded_agreements(broken.space_folder) == {}


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "bit": lambda data: data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :],
    "half": lambda data: data[: len(data) // 2],
    "empty": lambda _: b"",
    "garbage": lambda data: b"\xa5" * len(data),
}


@pytest.fixture
def stored(
    embedder: OpenVinoEmbedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], OpenVinoEmbedder]:
    """Return a function that makes embedders of a home with a converted model; converting copies it, without torch."""
    folder = tmp_path / "models"
    shutil.copytree(embedder.space_folder, folder / embedder.space.id)
    # The cache of compiled models depends on the path.
    shutil.rmtree(folder / embedder.space.id / embedder.converted.parent.name / "compiled")

    def convert(self: OpenVinoEmbedder) -> None:
        shutil.copytree(embedder.converted.parent, self.converted.parent)

    monkeypatch.setattr(OpenVinoEmbedder, "convert", convert)
    return lambda: OpenVinoEmbedder(embedder.model, folder, precision="float32")


@pytest.mark.parametrize("kind", DAMAGES)
@pytest.mark.parametrize("name", ["model.xml", "model.bin", "blob"])
def test_a_damaged_file_of_a_model_is_made_again(
    embedder: OpenVinoEmbedder,
    stored: Callable[[], OpenVinoEmbedder],
    caplog: pytest.LogCaptureFixture,
    name: str,
    kind: str,
) -> None:
    image = embedder.prepare(picture(3))[np.newaxis]
    expected = embedder.embed(image)
    first = stored()
    np.testing.assert_array_equal(first.embed(image), expected)
    assert not caplog.records
    folder = first.converted.parent
    [file] = folder.glob("compiled/*.blob") if name == "blob" else [folder / name]
    file.write_bytes(DAMAGES[kind](file.read_bytes()))
    np.testing.assert_array_equal(stored().embed(image), expected)
    [warning] = caplog.messages
    assert f"{file} is damaged" in warning
    np.testing.assert_array_equal(stored().embed(image), expected)
    assert len(caplog.messages) == 1


def test_files_of_an_earlier_version_are_compared_with_the_reference(
    embedder: OpenVinoEmbedder, stored: Callable[[], OpenVinoEmbedder], caplog: pytest.LogCaptureFixture
) -> None:
    image = embedder.prepare(picture(3))[np.newaxis]
    first = stored()
    folder = first.converted.parent
    (folder / "checks.json").unlink()
    np.testing.assert_array_equal(first.embed(image), embedder.embed(image))
    assert not caplog.records
    assert not model_files.damaged_files(folder)
    # A damaged file of an earlier version, in which nothing says how it was.
    (folder / "checks.json").unlink()
    shutil.rmtree(folder / "compiled")
    data = bytearray((folder / "model.bin").read_bytes())
    data[: len(data) // 2] = bytes(len(data) // 2)
    (folder / "model.bin").write_bytes(data)
    np.testing.assert_array_equal(stored().embed(image), embedder.embed(image))
    assert "The model is converted again" in caplog.text
    assert model_files.has_checks(folder)


def test_a_stream_gives_every_key_its_vector(embedder: OpenVinoEmbedder) -> None:
    batch = np.stack([embedder.prepare(picture(seed)) for seed in range(11)])
    expected = embedder.embed(batch)
    before = embedder.forward_s
    found = dict(embedder.stream((str(row), image) for row, image in enumerate(batch)))
    assert embedder.forward_s > before
    for row, vector in enumerate(expected):
        np.testing.assert_array_equal(found[str(row)], vector)


class CountedNetwork:
    """A compiled network that counts the requests created."""

    def __init__(self, compiled: Any) -> None:
        self.compiled = compiled
        self.requests = 0

    def __call__(self, batch: np.ndarray) -> Any:
        return self.compiled(batch)

    def get_property(self, name: str) -> Any:
        return self.compiled.get_property(name)

    def create_infer_request(self) -> Any:
        self.requests += 1
        return self.compiled.create_infer_request()


def test_requests_are_created_as_they_are_needed(embedder: OpenVinoEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A query is one image: it waits for no request that it does not use."""
    counted = CountedNetwork(embedder.load())
    monkeypatch.setattr(OpenVinoEmbedder, "compile", lambda _: (counted, "float32"))
    counting = OpenVinoEmbedder(embedder.model, embedder.folder, precision="float32")
    prepared = counting.prepare(picture(1))
    counting.embed(prepared[np.newaxis])
    assert counted.requests == 1
    counted.requests = 0
    counting.embed(np.stack([prepared] * 40))
    parallel = counted.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
    assert counted.requests == min(40, parallel + min(parallel, 16))


def test_a_stream_may_be_left_unread(embedder: OpenVinoEmbedder) -> None:
    batch = np.stack([embedder.prepare(picture(seed)) for seed in range(9)])
    stream = embedder.stream((str(row), image) for row, image in enumerate(batch))
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert embedder.embed(batch[:1]).shape == (1, 1280)


# What the CPU can do, pretended: these tests say the same on every machine.


class PretendedNetwork:
    """Gives the reference's vectors of the fixed pictures, each turned by the same angle."""

    def __init__(self, cosine: float) -> None:
        reference, aside = REFERENCE
        self.rows = iter(cosine * reference + np.sqrt(1 - cosine**2) * aside)

    def __call__(self, _: np.ndarray) -> dict[int, np.ndarray]:
        return {0: next(self.rows)[np.newaxis]}


class PretendedCore:
    """OpenVINO on a CPU with these capabilities; notes the precisions it was asked to compile for."""

    def __init__(self, capabilities: list[str], bfloat16_cosine: float = 1.0) -> None:
        self.capabilities = capabilities
        self.cosines = {"f32": 1.0, "bf16": bfloat16_cosine}
        self.compiled: list[str] = []

    def get_property(self, _: str, name: str) -> Any:
        return {"OPTIMIZATION_CAPABILITIES": self.capabilities, "FULL_DEVICE_NAME": "a pretended CPU"}[name]

    def compile_model(self, _: Path, __: str, configuration: dict[str, str]) -> PretendedNetwork:
        self.compiled.append(configuration["INFERENCE_PRECISION_HINT"])
        return PretendedNetwork(self.cosines[self.compiled[-1]])


Pretend = Callable[..., tuple[OpenVinoEmbedder, PretendedCore]]
WITHOUT, WITH = ["FP32", "INT8"], ["FP32", "BF16", "INT8"]
# Unit vectors of the fixed pictures, and for each of them one that is orthogonal to it.
REFERENCE = np.eye(48, dtype=np.float32)[:24].reshape(2, 12, 48)


@pytest.fixture
def pretend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pretend:
    """An embedder, its model converted already, on a pretended CPU."""

    def make(precision: str, *given: Any) -> tuple[OpenVinoEmbedder, PretendedCore]:
        core = PretendedCore(*given)
        monkeypatch.setattr(import_openvino(), "Core", lambda: core)
        embedder = OpenVinoEmbedder(Model(FakeEmbedder().space, None), tmp_path, precision=precision)
        embedder.converted.parent.mkdir(parents=True)
        embedder.converted.touch()
        model_files.record_checks(embedder.converted.parent, [embedder.converted])
        np.save(embedder.space_folder / "reference.npy", REFERENCE[0])
        return embedder, core

    return make


def test_bfloat16_is_refused_where_the_cpu_has_none(pretend: Pretend) -> None:
    asked, core = pretend("bfloat16", WITHOUT)
    with pytest.raises(SettingError, match="precision is bfloat16, but this CPU has no instructions"):
        asked.load()
    assert (asked.loaded, core.compiled) == (False, [])


def test_float32_is_chosen_where_the_cpu_has_no_bfloat16(pretend: Pretend) -> None:
    free, core = pretend("auto", WITHOUT)
    assert (free.engine, core.compiled) == ("openvino-cpu-float32", ["f32"])


@pytest.mark.parametrize("precision", ["auto", "bfloat16"])
def test_bfloat16_is_taken_where_the_cpu_has_it_and_its_vectors_agree(pretend: Pretend, precision: str) -> None:
    embedder, core = pretend(precision, WITH, MIN_AGREEMENT + 1e-5)
    embedder.load()
    assert (embedder.engine, core.compiled) == ("openvino-cpu-bfloat16", ["bf16"])
    [key] = recorded_agreements(embedder.space_folder)
    assert key.startswith("openvino-cpu-bfloat16 ")


def test_bfloat16_is_refused_where_its_vectors_do_not_agree(pretend: Pretend) -> None:
    asked, core = pretend("bfloat16", WITH, MIN_AGREEMENT - 1e-5)
    with pytest.raises(ModelError, match=r"openvino-cpu-bfloat16 .* a cosine of 0\.99989.*use precision float32"):
        asked.load()
    assert (asked.loaded, core.compiled) == (False, ["bf16"])
    assert recorded_agreements(asked.space_folder) == {}


def test_float32_is_chosen_where_bfloat16_does_not_agree(pretend: Pretend) -> None:
    free, core = pretend("auto", WITH, MIN_AGREEMENT - 1e-5)
    assert (free.engine, core.compiled) == ("openvino-cpu-float32", ["bf16", "f32"])


@pytest.mark.parametrize("capabilities", [WITHOUT, WITH])
def test_float32_is_given_on_every_cpu_when_requested(pretend: Pretend, capabilities: list[str]) -> None:
    asked, core = pretend("float32", capabilities)
    asked.load()
    assert (asked.engine, core.compiled) == ("openvino-cpu-float32", ["f32"])


def test_a_precision_that_openvino_lacks_is_refused(model: Model, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="precision is 'float16' with OpenVINO"):
        OpenVinoEmbedder(model, tmp_path, precision="float16")


def test_a_batch_size_of_zero_is_refused(model: Model, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="batch_size is 0"):
        OpenVinoEmbedder(model, tmp_path, batch_size=0)


@pytest.mark.parametrize(
    ("loaded", "processes"), [(2, 2), pytest.param(0, 6, marks=pytest.mark.exhaustive)], ids=["loaded", "loading"]
)
def test_first_inferences_at_once_do_not_wait_for_one_another_for_good(
    lite0_home: Path, loaded: int, processes: int
) -> None:
    for _ in range(processes):
        command = [sys.executable, "-c", FIRST_INFERENCES, str(lite0_home), str(loaded)]
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=FIRST_WITHIN_S, check=False)
        assert done.stdout == "6 True\n", done.stderr[-2000:]
