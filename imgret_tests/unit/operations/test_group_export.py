"""A group as a list of files, as a folder of links, and as an album."""

import html
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from imgret_assets.domain.operations.group_export import album, link_files, list_of_files
from imgret_assets.errors import HomeError, ImgretError

NAMES = ("plain.jpg", "with space & <b>.png", "Zürich.jpg", "\udcff.png")


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "images"
    folder.mkdir()
    files = [folder / name for name in NAMES]
    for file in files:
        file.write_bytes(b"image")
    return files


def test_a_list_has_a_path_on_each_line_whatever_bytes_it_has(files: list[Path]) -> None:
    assert list_of_files(files).decode("utf-8", "surrogateescape").splitlines() == [str(file) for file in files]


def test_a_path_with_a_line_break_is_refused_in_a_list() -> None:
    with pytest.raises(ImgretError, match="contains a line break"):
        list_of_files([Path("/a.png"), Path("/b\nc.png")])


def test_links_lead_to_the_files_in_their_order(files: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "new" / "links"
    twelve = files * 3
    assert link_files(twelve, folder) == 12
    assert [link.resolve() for link in sorted(folder.iterdir())] == twelve


def test_a_folder_with_files_is_left_as_it_is(files: list[Path]) -> None:
    folder = files[0].parent
    with pytest.raises(HomeError, match="is not empty"):
        link_files(files, folder)
    assert sorted(folder.iterdir()) == sorted(files)


def test_an_album_shows_every_image_and_links_to_its_file(files: list[Path]) -> None:
    page = album("Beach <2024>", files, NAMES, lambda file: file.name.encode("utf-8", "surrogateescape"))
    assert page.count("<figure>") == 4
    assert "<b>" not in page
    assert "<h1>Beach &lt;2024&gt;</h1>" in page
    links = [
        unquote(urlsplit(html.unescape(link)).path, errors="surrogateescape")
        for link in re.findall('href="([^"]*)"', page)
    ]
    assert links == [str(file) for file in files]
    assert not re.search(r'(?:src|href)="(?!data:|file:)', page)
