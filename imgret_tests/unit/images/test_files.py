"""Tests of the listing of files: shards, labels, links, odd names, folders that cannot be listed."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from imgret_assets.domain.images.files import (
    Candidate,
    ListingFingerprint,
    WalkCounts,
    check_roots,
    image_file,
    is_candidate,
    label_of,
    list_folder,
    shard_of,
    status_of_os_error,
    storable_ns,
    walk,
)
from imgret_assets.domain.images.image_status import Status
from imgret_assets.errors import RootError
from imgret_tests.support.tree import lock_folder


def put(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"x")


def statuses(root: Path) -> dict[str, Status | None]:
    return {candidate.path: candidate.status for candidate in walk(root)}


@pytest.mark.parametrize(
    ("path", "shards", "shard"),
    [("a.jpg", 1, "00"), ("a.jpg", 16, "0a"), ("cars/red.png", 16, "0c"), ("Zürich.jpg", 256, "6a")],
)
def test_the_shard_of_a_path_never_changes(path: str, shards: int, shard: str) -> None:
    """Other programs rely on it. The numbers come from `printf %s PATH | sha256sum | cut -c15-16`."""
    assert shard_of(path, shards) == shard


def test_the_shard_comes_from_eight_bytes_big_endian() -> None:
    first = hashlib.sha256(b"a.jpg").hexdigest()[:16]
    assert [shard_of("a.jpg", shards) for shards in (3, 7, 100)] == [f"{int(first, 16) % n:02x}" for n in (3, 7, 100)]


def test_shards_fill_evenly() -> None:
    counts = np.bincount([int(shard_of(f"folder/{n}.jpg", 16), 16) for n in range(4000)], minlength=16)
    assert counts.min() > 180


@pytest.mark.parametrize(
    ("path", "label"), [("a.jpg", None), ("cars/a.jpg", "cars"), ("cars/red/a.jpg", "cars/red"), (" /a.jpg", " ")]
)
def test_the_label_is_the_parent_folder(path: str, label: str | None) -> None:
    assert label_of(path) == label


@pytest.mark.parametrize("name", ["a.jpg", "A.JPG", "b.JpEg", "c d.png", "x.tar.webp", "é.tiff"])
def test_candidates(name: str) -> None:
    assert is_candidate(name)


@pytest.mark.parametrize("name", ["a.txt", "jpg", ".jpg", ".a.jpg", "a.jpg.part", "a", "a.mp4", "a.svg"])
def test_other_names_are_no_candidates(name: str) -> None:
    assert not is_candidate(name)


def test_a_walk_is_sorted_and_counts_other_names(images: Path) -> None:
    put(images, "b/2.jpg", "b/1.jpg", "a/z.png", "c.jpg", "note.txt", "b/data.csv", ".hidden.jpg", ".cache/x.jpg")
    counts = WalkCounts()
    assert [candidate.path for candidate in walk(images, counts)] == ["c.jpg", "a/z.png", "b/1.jpg", "b/2.jpg"]
    assert (counts.ignored, counts.hidden, counts.linked_folders) == (2, 2, 0)


def test_a_candidate_has_the_stat_values_of_its_file(images: Path) -> None:
    put(images, "a.jpg")
    found = (images / "a.jpg").stat()
    (candidate,) = walk(images)
    assert candidate.stat_fingerprint == (1, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
    assert candidate.location == str(images / "a.jpg")


@pytest.mark.parametrize(
    ("nanoseconds", "stored"),
    [(0, 0), (-1, -1), (2**63 - 1, 2**63 - 1), (2**63, 2**63 - 1), (-(2**63) - 1, -(2**63)), (10**22, 2**63 - 1)],
)
def test_a_time_of_any_size_fits_into_64_bits(nanoseconds: int, stored: int) -> None:
    assert storable_ns(nanoseconds) == stored


def test_an_empty_folder_has_no_candidates(images: Path) -> None:
    (images / "empty").mkdir()
    assert list(walk(images)) == []


def test_a_folder_with_an_image_extension_is_a_folder(images: Path) -> None:
    put(images, "album.jpg/a.jpg")
    assert list(statuses(images)) == ["album.jpg/a.jpg"]


@pytest.mark.parametrize(
    "name",
    [
        *("with space.jpg", "quote'\".jpg", "new\nline.jpg", "tab\t.jpg", "back\\slash.jpg", "Zürich 東京 🚗.jpg"),
        *("-rf.jpg", "%41.jpg", "a:b.jpg", "*?.jpg", "$HOME.jpg", "e\u0301.jpg"),
    ],
)
def test_unusual_names_are_unchanged_paths(images: Path, name: str) -> None:
    put(images, f"{name}.d/{name}")
    (candidate,) = walk(images)
    assert candidate.path == f"{name}.d/{name}"
    assert candidate.status is None
    assert Path(candidate.location).read_bytes() == b"x"


def test_a_name_that_is_not_utf8_is_shown_with_escapes(images: Path) -> None:
    raw = os.fsencode(images) + b"/caf\xe9 \\ 1.jpg"
    with open(raw, "wb") as file:  # noqa: PTH123
        file.write(b"x")
    (candidate,) = walk(images)
    assert candidate.path == r"caf\xe9 \\ 1.jpg"
    assert candidate.status is Status.BAD_NAME
    assert "rename it" in (candidate.error or "")
    shard_of(candidate.path, 16)


def test_files_in_a_folder_that_is_not_utf8_are_shown_with_escapes(images: Path) -> None:
    folder = os.fsencode(images) + b"/\xff"
    os.mkdir(folder)  # noqa: PTH102
    with open(folder + b"/a.jpg", "wb") as file:  # noqa: PTH123
        file.write(b"x")
    assert statuses(images) == {r"\xff/a.jpg": Status.BAD_NAME}


def test_links(images: Path, tmp_path: Path) -> None:
    put(images, "real/a.jpg")
    put(tmp_path, "outside/secret.jpg")
    links = {
        "inside.jpg": "real/a.jpg",
        "outside.jpg": tmp_path / "outside" / "secret.jpg",
        "itself.jpg": "itself.jpg",
        "nothing.jpg": "not there.jpg",
        "nothing outside.jpg": tmp_path / "not there.jpg",
        "again": "real",
        "real/up": "..",
        "all": ".",
        "out": tmp_path / "outside",
        "link.txt": "real/a.jpg",
        "system.jpg": "/etc/hostname",
    }
    for name, target in links.items():
        (images / name).symlink_to(target)
    (images / "ping.jpg").symlink_to("pong.jpg")
    (images / "pong.jpg").symlink_to("ping.jpg")
    counts = WalkCounts()
    found = {candidate.path: candidate.status for candidate in walk(images, counts)}
    assert found == {
        "real/a.jpg": None,
        "inside.jpg": None,
        "outside.jpg": Status.OUTSIDE_ROOT,
        "system.jpg": Status.OUTSIDE_ROOT,
        "out": Status.OUTSIDE_ROOT,
        "itself.jpg": Status.LOOP,
        "ping.jpg": Status.LOOP,
        "pong.jpg": Status.LOOP,
        "real/up": Status.LOOP,
        "all": Status.LOOP,
        "nothing.jpg": Status.VANISHED,
        "nothing outside.jpg": Status.VANISHED,
    }
    assert (counts.linked_folders, counts.ignored) == (1, 1)


def test_a_root_that_is_itself_a_link_is_walked(images: Path, tmp_path: Path) -> None:
    put(images, "a.jpg")
    (images / "b.jpg").symlink_to("a.jpg")
    (tmp_path / "link").symlink_to(images)
    assert statuses(tmp_path / "link") == {"a.jpg": None, "b.jpg": None}


def test_a_sibling_with_a_longer_name_is_outside(images: Path) -> None:
    """`/data/images2` begins with `/data/images`, too."""
    put(images.with_name("images2"), "a.jpg")
    (images / "a.jpg").symlink_to(images.with_name("images2") / "a.jpg")
    assert statuses(images) == {"a.jpg": Status.OUTSIDE_ROOT}


@pytest.mark.timeout(20)
def test_a_pipe_with_an_image_extension_is_never_opened(images: Path) -> None:
    os.mkfifo(images / "pipe.jpg")
    (images / "link.jpg").symlink_to("pipe.jpg")
    (images / "null.jpg").symlink_to("/dev/null")
    assert statuses(images) == {
        "pipe.jpg": Status.NOT_AN_IMAGE,
        "link.jpg": Status.NOT_AN_IMAGE,
        "null.jpg": Status.OUTSIDE_ROOT,
    }


def test_a_folder_that_can_not_be_listed_is_one_row_and_the_walk_goes_on(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(images, "locked/a.jpg", "open/b.jpg")
    lock_folder(monkeypatch, images / "locked")
    found = {candidate.path: candidate for candidate in walk(images)}
    assert sorted(found) == ["locked", "open/b.jpg"]
    assert found["locked"].status is Status.UNREADABLE
    assert found["locked"].error == "the folder can't be listed: Permission denied"
    assert found["locked"].is_unlistable_folder


def test_a_folder_that_vanishes_while_walking_hides_nothing(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(images, "gone/a.jpg")
    lock_folder(monkeypatch, images / "gone", FileNotFoundError(2, "No such file or directory"))
    (candidate,) = walk(images)
    assert candidate.status is Status.VANISHED
    assert not candidate.is_unlistable_folder


def test_a_root_that_is_missing_or_no_folder_is_an_error(images: Path) -> None:
    with pytest.raises(RootError, match=r"images/none does not exist.*IMGRET_IMAGES.*nothing was deleted"):
        list(walk(images / "none"))
    put(images, "a.jpg")
    with pytest.raises(RootError, match=r"a.jpg is not a folder"):
        check_roots(images / "a.jpg")


def test_a_root_that_can_not_be_listed_is_an_error(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock_folder(monkeypatch, images)
    with pytest.raises(RootError, match=r"can't be listed \(Permission denied\)"):
        check_roots(images)
    with pytest.raises(RootError, match="can't be listed"):
        list_folder(images, "")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (FileNotFoundError(2, "x"), Status.VANISHED),
        (NotADirectoryError(20, "x"), Status.VANISHED),
        (OSError(116, "Stale file handle"), Status.VANISHED),
        (OSError(40, "Too many levels"), Status.LOOP),
        (PermissionError(13, "Permission denied"), Status.UNREADABLE),
        (OSError(5, "Input/output error"), Status.UNREADABLE),
        (OSError("without a number"), Status.UNREADABLE),
    ],
)
def test_an_error_of_the_operating_system_has_a_status(error: OSError, status: Status) -> None:
    found, reason = status_of_os_error(error)
    assert found is status
    assert reason


def sample(path: str = "a.jpg") -> Candidate:
    return Candidate(path, f"/{path}", bytes=1, mtime_ns=2, ctime_ns=3, inode=4)


def fingerprint_of(*candidates: Candidate) -> str:
    found = ListingFingerprint()
    for candidate in candidates:
        found.add(candidate)
    return str(found)


def test_a_fingerprint_does_not_depend_on_the_order() -> None:
    assert fingerprint_of(sample("a.jpg"), sample("b.jpg")) == fingerprint_of(sample("b.jpg"), sample("a.jpg"))


@pytest.mark.parametrize("changed", ["bytes", "mtime_ns", "ctime_ns", "inode"])
def test_a_fingerprint_changes_with_every_stat_value(changed: str) -> None:
    assert fingerprint_of(sample()) != fingerprint_of(replace(sample(), **{changed: 9}))


def test_a_fingerprint_changes_with_names_and_numbers() -> None:
    fingerprints = [
        fingerprint_of(),
        fingerprint_of(sample()),
        fingerprint_of(sample("b.jpg")),
        fingerprint_of(sample(), sample()),
    ]
    assert len(set(fingerprints)) == 4


def test_a_fingerprint_is_read_back() -> None:
    text = fingerprint_of(sample("a.jpg"), sample("b.jpg"))
    resumed = ListingFingerprint.parse(text)
    resumed.add(sample("c.jpg"))
    assert str(resumed) == fingerprint_of(sample("a.jpg"), sample("b.jpg"), sample("c.jpg"))


def test_a_link_names_the_file_that_it_leads_to_in_the_end(images: Path, tmp_path: Path) -> None:
    put(images, "z/real.jpg")
    os.link(images / "z/real.jpg", tmp_path / "elsewhere.jpg")
    (images / "albums").symlink_to("z")
    (images / "a.jpg").symlink_to("b.jpg")
    (images / "b.jpg").symlink_to(images / "albums/real.jpg")
    (images / "z/c.jpg").symlink_to("../a.jpg")
    (images / "out.jpg").symlink_to(tmp_path / "elsewhere.jpg")
    (images / "nowhere.jpg").symlink_to("missing.jpg")
    found = {candidate.path: (candidate.link, candidate.hard_links) for candidate in walk(images)}
    assert found == {
        "a.jpg": ("z/real.jpg", 2),
        "b.jpg": ("z/real.jpg", 2),
        "z/c.jpg": ("z/real.jpg", 2),
        "z/real.jpg": (None, 2),
        "out.jpg": (None, 1),
        "nowhere.jpg": ("missing.jpg", 1),
    }


def test_a_file_replaced_by_a_link_to_it_changes_the_listing(images: Path) -> None:
    put(images, "a.jpg")
    os.link(images / "a.jpg", images / "hard.jpg")
    (images / "b.jpg").symlink_to("a.jpg")

    def listing() -> str:
        fingerprint = ListingFingerprint()
        for candidate in walk(images):
            fingerprint.add(candidate)
        return str(fingerprint)

    to_a = listing()
    (images / "b.jpg").unlink()
    (images / "b.jpg").symlink_to("hard.jpg")
    assert listing() != to_a


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Files and links, some of which lead out of the root."""
    folder = tmp_path / "root"
    put(folder, "sub/a.png", ".hidden.png", "notes.txt", "../outside.png")
    (folder / "out.png").symlink_to(tmp_path / "outside.png")
    (folder / "in.png").symlink_to(folder / "sub/a.png")
    return folder


@pytest.mark.parametrize("path", ["sub/a.png", "in.png"])
def test_an_image_under_the_root_is_found(root: Path, path: str) -> None:
    assert image_file(root, path) == root / path


@pytest.mark.parametrize(
    "path",
    ["", "../outside.png", "sub/../../outside.png", "out.png", "notes.txt", ".hidden.png", "gone.png", "a\0.png"],
)
def test_no_other_file_is_found(root: Path, path: str) -> None:
    assert image_file(root, path) is None


def test_an_absolute_path_is_not_followed(root: Path, tmp_path: Path) -> None:
    assert image_file(root, str(tmp_path / "outside.png")) is None
