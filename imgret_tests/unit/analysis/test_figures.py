"""The parts that all plots share."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imgret_assets.domain.analysis.figures import DPI, finish_axes, fix_layout, new_figure, smaller_png, write_png
from imgret_assets.errors import DiskFullError


def test_a_figure_is_written_whole(tmp_path: Path) -> None:
    figure = new_figure(4, 2)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], label="line")
    finish_axes(axes)
    fix_layout(figure)
    file = tmp_path / "new" / "figure.png"
    write_png(figure, file)
    with Image.open(file) as image:
        assert (image.format, image.size) == ("PNG", (4 * DPI, 2 * DPI))
    assert list(file.parent.iterdir()) == [file]
    legend = axes.get_legend()
    assert legend is not None
    assert legend.get_texts()[0].get_text() == "line"
    assert not axes.spines["top"].get_visible()


def test_a_full_disk_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = new_figure(1, 1)

    def savefig(file: Path, **options: object) -> None:
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(figure, "savefig", savefig)
    with pytest.raises(DiskFullError):
        write_png(figure, tmp_path / "figure.png")
    assert list(tmp_path.iterdir()) == []


def test_a_smaller_png_has_fewer_pixels_colours_and_bytes(rng: np.random.Generator, tmp_path: Path) -> None:
    file = tmp_path / "noise.png"
    Image.fromarray(rng.integers(0, 256, (80, 120, 3), dtype=np.uint8)).save(file)
    data = smaller_png(file, 0.5)
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (60, 40)
        assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) <= 64
    assert len(data) < file.stat().st_size / 4
