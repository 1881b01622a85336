"""Tests of files whose decoder ends the process: a run is lost once, and then one image."""

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from imgret_assets.domain.embeddings.embeddings_table import refresh_embeddings
from imgret_assets.domain.images.decoder_crashes import decoding, is_suspect, try_in_child, watching
from imgret_assets.domain.images.image_status import Status, UnusableImageError
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home
from imgret_assets.locations import PROJECT
from imgret_tests.support.fake_model import fake_embedder
from imgret_tests.support.odd_files import saved
from imgret_tests.support.pictures import picture, picture_bytes
from imgret_tests.support.tree import manifest, put, statuses

# Ends each Python process as a fault in a decoder does, as soon as it decodes pixels of an image of this width.
_FAULTY_WIDTH = 13
_FAULTY_DECODER = f"""
import ctypes
from PIL import ImageFile
load = ImageFile.ImageFile.load
def faulty(self, *arguments):
    if self.width == {_FAULTY_WIDTH}:
        # A real fault: a signal that is sent to the process may arrive only after this thread has gone on.
        ctypes.string_at(0)
    return load(self, *arguments)
ImageFile.ImageFile.load = faulty
"""
_EMBED = """
from imgret_assets.domain.embeddings.embeddings_table import refresh_embeddings
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.storage.home import open_home
from imgret_assets.settings import load_settings
from imgret_tests.support.fake_model import fake_embedder
home = open_home(load_settings())
refresh_embeddings(home, fake_embedder())
"""
_REFRESH = _EMBED.replace("refresh_embeddings(home, ", "refresh_manifest(home); refresh_embeddings(home, ")
MAX_PIXELS = 10_000


@pytest.fixture
def faulty_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Python processes that are started from now on have a faulty decoder."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_FAULTY_DECODER)
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{PROJECT}")
    # A child finds the packages where its parent does.
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])


def notes_in(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name != "faulty.json"]


def ended_as(code: str, home: Home) -> int:
    environment = os.environ | {"IMGRET_HOME": str(home.path), "IMGRET_IMAGES": str(home.images)}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False).returncode


@pytest.mark.usefixtures("faulty_decoder")
def test_a_fault_of_a_decoder_costs_one_run_and_then_one_image(home: Home, images: Path) -> None:
    put(images, "a.png", picture_bytes(1))
    put(images, "b.png", picture_bytes(2))
    put(images, "faulty.png", saved(picture(3).resize((_FAULTY_WIDTH, 9)), "PNG"))
    assert ended_as(_REFRESH, home) == -signal.SIGSEGV
    assert ended_as(_REFRESH, home) == 0
    assert notes_in(home.work / "decoding") == []
    rows = {path: (row["status"], row["error"]) for path, row in manifest(home).items()}
    assert rows == {
        "a.png": (Status.OK, None),
        "b.png": (Status.OK, None),
        "faulty.png": (Status.DAMAGED, "its decoder ended the process with SIGSEGV"),
    }
    # It is not tried again, not even where every file is inspected and the content has another name, too.
    put(images, "copy.png", (images / "faulty.png").read_bytes())
    assert ended_as(_REFRESH.replace("refresh_manifest(home)", "refresh_manifest(home, verify=True)"), home) == 0
    assert statuses(home) == {"a.png": "ok", "b.png": "ok", "faulty.png": "damaged", "copy.png": "damaged"}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"decoders": "of before", "contents": {"0": ["damaged", "it ended"]}}']
)
def test_what_ended_other_decoders_or_a_damaged_record_of_it_counts_no_longer(tmp_path: Path, text: str) -> None:
    (tmp_path / "faulty.json").write_text(text)
    with watching(tmp_path), decoding("0" * 64, max_pixels=MAX_PIXELS):
        assert not is_suspect("0" * 64)


@pytest.mark.usefixtures("faulty_decoder")
def test_an_image_that_was_listed_before_its_decoder_ended_a_run_is_an_unusable_content(
    home: Home, images: Path
) -> None:
    data = saved(picture(3).resize((_FAULTY_WIDTH, 9)), "PNG")
    put(images, "faulty.png", data)
    refresh_manifest(home)
    assert statuses(home) == {"faulty.png": Status.OK}
    assert ended_as(_EMBED, home) == -signal.SIGSEGV
    # This process has no faulty decoder: what it finds, the child has found.
    refresh_embeddings(home, fake_embedder())
    (row,) = (
        row
        for shard in home.shards
        for row in tables.read(tables.embeddings_path(home.warehouse, fake_embedder().space.id, shard)).to_pylist()
    )
    assert (row["status"], row["error"]) == (Status.DAMAGED, "its decoder ended the process with SIGSEGV")


def test_what_an_ended_process_was_decoding_is_suspected_and_tried_once(home: Home, images: Path) -> None:
    put(images, "a.png", picture_bytes(1))
    content = hashlib.sha256(picture_bytes(1)).hexdigest()
    killed = f"""
import os, signal
from pathlib import Path
from imgret_assets.domain.images.decoder_crashes import decoding, watching
with watching(Path({str(home.work / "decoding")!r})), decoding({content!r}, max_pixels=100):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert ended_as(killed, home) == -signal.SIGKILL
    with watching(home.work / "decoding"):
        assert is_suspect(content)
        with decoding(content, picture_bytes(1), max_pixels=MAX_PIXELS):
            pass
        assert not is_suspect(content)
    assert not is_suspect(content)
    assert ended_as(killed, home) == -signal.SIGKILL
    refresh_manifest(home)
    refresh_embeddings(home, fake_embedder())
    assert statuses(home) == {"a.png": Status.OK}
    assert notes_in(home.work / "decoding") == []


def test_the_notes_of_a_living_process_are_left_alone(home: Home) -> None:
    folder = home.work / "decoding"
    other = (
        "from pathlib import Path\n"
        f"""
from imgret_assets.domain.images.decoder_crashes import is_suspect, watching
with watching(Path({str(folder)!r})):
    raise SystemExit(int(is_suspect("0" * 64)))
"""
    )
    with watching(folder), decoding("0" * 64, max_pixels=MAX_PIXELS):
        assert ended_as(other, home) == 0
        assert len(notes_in(folder)) == 1
    # An error or Ctrl-C is no crash.
    with pytest.raises(KeyboardInterrupt), watching(folder), decoding("0" * 64, max_pixels=MAX_PIXELS):
        raise KeyboardInterrupt
    assert notes_in(folder) == []


@pytest.mark.usefixtures("faulty_decoder")
def test_a_child_tells_a_fault_from_a_file_that_can_t_be_decoded() -> None:
    try_in_child(picture_bytes(1), max_pixels=MAX_PIXELS)
    try_in_child(b"no image", max_pixels=MAX_PIXELS)
    with pytest.raises(UnusableImageError, match="SIGSEGV"):
        try_in_child(saved(picture(3).resize((_FAULTY_WIDTH, 9)), "PNG"), max_pixels=MAX_PIXELS)
    with pytest.raises(UnusableImageError, match=r"did not end within 0\.01 s"):
        try_in_child(picture_bytes(1), max_pixels=MAX_PIXELS, timeout_s=0.01)


def test_without_space_for_notes_files_are_decoded_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "decoding").write_bytes(b"no folder")
    with watching(tmp_path / "decoding"), decoding("0" * 64, max_pixels=MAX_PIXELS):
        assert not is_suspect("0" * 64)
