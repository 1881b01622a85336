"""Public data sets, from a fake torchvision."""

import json
import socket
import sys
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

from imgret_assets.errors import ImgretError, SettingError
from imgret_assets.samples.folders import draw_catalogue, fetch_dataset, read_truth
from imgret_tests.unit.samples.conftest import file_hashes


class FakePets:
    """The part of torchvision's OxfordIIITPet in use: classes, length, items of image and class number."""

    classes = ("Maine Coon", "Pug")

    def __init__(self, root: str, *, split: str, download: bool) -> None:
        assert download
        Path(root, "archive.tar").write_bytes(b"big")
        self.numbers = {"trainval": [0, 0, 1], "test": [1, 0]}[split]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, i: int) -> tuple[Image.Image, int]:
        return Image.new("L", (20, 10), 40 * i), self.numbers[i]


def install_fake_torchvision(monkeypatch: pytest.MonkeyPatch, **classes: object) -> None:
    package, datasets = ModuleType("torchvision"), ModuleType("torchvision.datasets")
    for name, value in classes.items():
        setattr(datasets, name, value)
    package.datasets = datasets  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "torchvision", package)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", datasets)


def test_a_data_set_has_a_folder_for_each_class(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install_fake_torchvision(monkeypatch, OxfordIIITPet=FakePets)
    made = fetch_dataset("oxford-iiit-pet", tmp_path / "samples")
    assert [truth.path for truth in read_truth(made.folder)] == [
        "maine-coon/maine-coon-0002.jpg",
        "maine-coon/maine-coon-0003.jpg",
        "pug/pug-0002.jpg",
    ]
    assert sorted(truth.path for truth in read_truth(made.queries)) == ["maine-coon.jpg", "pug.jpg"]
    assert json.loads((made.folder / ".samples.json").read_text())["dataset"] == "oxford-iiit-pet"
    assert not list(tmp_path.rglob("archive.tar"))
    assert not fetch_dataset("oxford-iiit-pet", tmp_path / "samples").drawn


def test_another_data_set_needs_force(small_catalogue: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install_fake_torchvision(monkeypatch, OxfordIIITPet=FakePets)
    out = draw_catalogue(tmp_path / "samples").folder
    with pytest.raises(ImgretError, match=r"contains the samples 'drawn'.*--force"):
        fetch_dataset("oxford-iiit-pet", out)
    assert fetch_dataset("oxford-iiit-pet", out, force=True).labels == ("maine-coon", "pug")
    assert not (out / "cars").exists()


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (OSError("no route"), r"cannot be downloaded \(OSError: no route\).*drawn samples"),
        (RuntimeError("File not found or corrupted."), r"cannot be downloaded \(RuntimeError"),
        (ModuleNotFoundError("No module named 'gdown'"), r"needs a package.*gdown"),
    ],
)
def test_a_failed_download_is_an_error_and_leaves_no_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, failure: Exception, message: str
) -> None:
    timeouts: list[float | None] = []

    def unreachable(root: str, *, download: bool) -> None:
        timeouts.append(socket.getdefaulttimeout())
        raise failure

    install_fake_torchvision(monkeypatch, Caltech101=unreachable)
    default_timeout = socket.getdefaulttimeout()
    with pytest.raises(ImgretError, match=message):
        fetch_dataset("caltech101", tmp_path / "samples")
    assert timeouts == [30.0]
    assert socket.getdefaulttimeout() == default_timeout
    assert file_hashes(tmp_path) == {}


def test_an_unknown_data_set_is_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="caltech101"):
        fetch_dataset("imagenet", tmp_path / "samples")
