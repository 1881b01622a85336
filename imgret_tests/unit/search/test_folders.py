"""Tests of the folder filter: its path, and the error about a folder that the library does not have."""

import pytest

from imgret_assets.domain.images.library import read_library
from imgret_assets.domain.search.find_similar import find_similar
from imgret_assets.domain.search.folders import check_folder, folder_path
from imgret_assets.domain.search.query import Query, QueryImage
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import SettingError
from imgret_tests.support.canned import CannedDatabase
from imgret_tests.unit.images.test_library import list_images

PATHS = ["photos/2024/a/1.png", "photos/2024-05/2.png", "archive/3.png", "top.png"]


@pytest.mark.parametrize(
    ("text", "path"),
    [("a", "a"), ("a/b/", "a/b"), ("./a/b", "a/b"), ("/a//b", "a/b"), (" a ", " a "), ("a/..b", "a/..b")],
)
def test_a_folder_is_written_in_several_ways(text: str, path: str) -> None:
    assert folder_path(text) == path
    assert Query(folder=text).check().filters["folder"] == f"{path}/"


@pytest.mark.parametrize("text", ["", "/", ".", "./", "..", "a/../b"])
def test_what_names_no_folder_is_an_error(text: str) -> None:
    with pytest.raises(SettingError, match=r"folder is .*Expected: a folder of the library.*leave it out"):
        Query(folder=text).check()


@pytest.mark.parametrize("folder", ["photos", "photos/2024", "photos/2024/a", "photos/2024-05", "archive/"])
def test_folders_with_images_in_or_below_them_pass(home: Home, folder: str) -> None:
    list_images(home, PATHS, unusable=["broken/4.png"])
    check_folder(home, folder)


@pytest.mark.parametrize(
    ("folder", "meant"),
    [
        ("fotos/2024", "photos/2024"),
        ("Photos/2024", "photos/2024"),
        ("2024-05", "photos/2024-05"),
        ("photos/202", "photos/2024"),
        ("broken", None),
        ("top.png", None),
    ],
)
def test_another_folder_is_an_error_that_names_the_nearest(home: Home, folder: str, meant: str | None) -> None:
    list_images(home, PATHS, unusable=["broken/4.png"])
    question = rf"; did you mean {meant}\?" if meant else r"\."
    with pytest.raises(SettingError, match=rf"The library has no folder '{folder}'{question} Expected: "):
        check_folder(home, folder)


def test_before_the_first_run_every_folder_passes_and_without_folders_none(home: Home) -> None:
    check_folder(home, "photos")
    list_images(home, ["top.png"])
    with pytest.raises(SettingError, match="no folder 'photos'"):
        check_folder(home, "photos")


def test_a_search_checks_its_folder_before_it_asks_the_database(home: Home) -> None:
    list_images(home, PATHS)
    database = CannedDatabase({})
    with pytest.raises(SettingError, match="did you mean archive"):
        find_similar(home, QueryImage("a.png", b""), Query(folder="archiv"), database=database)
    assert not database.asked


def test_folders_of_a_library_are_its_labels_and_those_around_them(home: Home) -> None:
    list_images(home, PATHS)
    around = ("archive", "photos", "photos/2024", "photos/2024-05", "photos/2024/a")
    assert read_library(home).folders == around
