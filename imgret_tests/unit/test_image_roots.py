"""The text of the image roots, the way from a path to its file and back. Files are made where links matter."""

import re
from pathlib import Path

import pytest

from imgret_assets.domain.images.files import check_roots, image_file, walk
from imgret_assets.domain.images.image_status import Status
from imgret_assets.errors import RootError, SettingError
from imgret_assets.image_roots import ImageRoots, joined


@pytest.fixture
def roots(tmp_path: Path) -> ImageRoots:
    for name in ("photos", "archive"):
        (tmp_path / name / "2024").mkdir(parents=True)
        (tmp_path / name / "2024" / "a.jpg").write_bytes(name.encode())
    return ImageRoots.parse(f"photos={tmp_path}/photos;archive={tmp_path}/archive")


@pytest.mark.parametrize(
    ("text", "folder"),
    [
        ("/mnt/a=b;c=/d:e", "/mnt/a=b;c=/d:e"),
        ("/photos=/x", "/photos=/x"),
        ("a=b", "WORKING/a=b"),
        ("./a=/b", "WORKING/a=/b"),
        ("a;b:c", "WORKING/a;b:c"),
    ],
)
def test_a_plain_folder_may_contain_any_sign(
    text: str, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    roots = ImageRoots.parse(text)
    assert roots == ImageRoots.plain(Path(folder.replace("WORKING", str(tmp_path))))
    assert ImageRoots.parse(str(roots)) == roots
    assert roots / "x/y.png" == roots.folder / "x/y.png"


def test_named_roots_are_sorted_and_their_text_is_parsed_again() -> None:
    roots = ImageRoots.parse("photos=/mnt/p; archive=/mnt/a;b:c=d")
    assert roots.folders == (("archive", Path("/mnt/a;b:c=d")), ("photos", Path("/mnt/p")))
    assert ImageRoots.parse(str(roots)) == roots


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a/b=/mnt/x", "names a root 'a/b'"),
        ("=/mnt/x", "names a root ''"),
        (".=/mnt/x", r"names a root '\.'"),
        ("..=/mnt/x", r"names a root '\.\.'"),
        ("a=/x;=/y", "names a root ''"),
        ("a=/x;a=/y", "names two roots 'a': /x and /y.*rename one"),
    ],
)
def test_a_bad_name_is_refused_with_the_remedy(text: str, message: str) -> None:
    with pytest.raises(SettingError, match=f"IMGRET_IMAGES {message}"):
        ImageRoots.parse(text)


def test_values_of_the_option_are_joined_and_each_of_several_needs_a_name() -> None:
    assert joined([]) is None
    assert joined([Path("/a;b=/c")]) == "/a;b=/c"
    assert joined(["photos=/p", "archive=/a"]) == "photos=/p;archive=/a"
    with pytest.raises(SettingError, match=r"given 2 times, and /mnt/old pics has no name.*old-pics=/mnt/old pics"):
        joined(["photos=/p", "/mnt/old pics"])


def test_the_same_folder_and_a_folder_in_another_are_refused_by_their_real_paths(tmp_path: Path) -> None:
    (tmp_path / "photos" / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to("photos")
    for second, relation in (("link", "is the same folder as"), ("link/inner", "lies in")):
        with pytest.raises(SettingError, match=rf"root \w+ \(.*\) {relation} the image root"):
            check_roots(ImageRoots.parse(f"photos={tmp_path}/photos;second={tmp_path}/{second}"))


def test_a_missing_root_is_named(roots: ImageRoots, tmp_path: Path) -> None:
    (tmp_path / "archive").rename(tmp_path / "elsewhere")
    with pytest.raises(RootError, match=r"image root archive, .*/archive, does not exist.*nothing was deleted"):
        check_roots(roots)


def test_paths_begin_with_the_name_of_their_root(roots: ImageRoots, tmp_path: Path) -> None:
    assert [candidate.path for candidate in walk(roots)] == ["archive/2024/a.jpg", "photos/2024/a.jpg"]
    assert roots.local("photos/2024/a.jpg").read_bytes() == b"photos"
    assert roots.path_of(tmp_path / "archive/2024/a.jpg") == "archive/2024/a.jpg"
    assert roots.path_of(tmp_path / "archived/a.jpg") is None
    assert not roots.local("unknown/2024/a.jpg").exists()
    assert roots.root_of("photos/x.jpg") == tmp_path / "photos"


@pytest.mark.parametrize("path", ["photos/../secret.jpg", "photos/../../etc/passwd", "../secret.jpg", "photos//x.jpg"])
def test_no_path_leads_out_of_the_roots(roots: ImageRoots, tmp_path: Path, path: str) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    assert image_file(roots, path) is None
    assert image_file(roots, str(tmp_path / "secret.jpg")) is None
    assert image_file(roots, "photos/2024/a.jpg") == tmp_path / "photos/2024/a.jpg"


def test_links_out_of_all_roots_are_refused_and_links_to_another_root_are_listed(
    roots: ImageRoots, tmp_path: Path
) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (tmp_path / "photos" / "out.jpg").symlink_to(tmp_path / "secret.jpg")
    (tmp_path / "photos" / "across.jpg").symlink_to(tmp_path / "archive/2024/a.jpg")
    found = {candidate.path: candidate for candidate in walk(roots)}
    assert found["photos/out.jpg"].status is Status.OUTSIDE_ROOT
    assert image_file(roots, "photos/out.jpg") is None
    assert (found["photos/across.jpg"].status, found["photos/across.jpg"].link) == (None, "archive/2024/a.jpg")
    assert image_file(roots, "photos/across.jpg") is not None


def test_former_roots_keep_their_meaning_by_name_and_folder() -> None:
    former = ImageRoots.parse("a=/a;b=/b;c=/c;d=/d")
    # b has another folder, c has another name, d has left.
    assert ImageRoots.parse("a=/a;b=/other;new=/c").continued_names(former) == {"a", "d"}
    assert ImageRoots.plain(Path("/a")).continued_names(former) == set()
    assert re.fullmatch(r"\w+", former.name_of("a/x/y.png"))
