"""Moving of one file: only the checked one, onto nothing that exists, on one file system and to another."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from imgret_assets.domain.review.file_moving import (
    NotMovedError,
    check_content,
    check_link,
    free_name,
    identity_of,
    is_one_entry,
    move_file,
    move_to_trash,
)

DATA = b"the bytes of an image"
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.jpg"
    path.write_bytes(DATA)
    return path


@pytest.fixture
def other_disk(tmp_path: Path) -> Path:
    folder = Path("/dev/shm") / f"imgret-test-{os.getpid()}"  # noqa: S108
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("there is no second file system that can be written")
    if folder.stat().st_dev == tmp_path.stat().st_dev:
        folder.rmdir()
        pytest.skip("there is no second file system")
    return folder


def test_a_content_is_read_before_it_is_trusted(file: Path) -> None:
    assert check_content(file, SHA256, max_bytes=100) == identity_of(file)
    with pytest.raises(NotMovedError, match="another content"):
        check_content(file, "0" * 64, max_bytes=100)
    with pytest.raises(NotMovedError, match="more than the 5"):
        check_content(file, SHA256, max_bytes=5)
    with pytest.raises(NotMovedError, match="does not exist any more"):
        check_content(file.with_name("b.jpg"), SHA256, max_bytes=100)
    with pytest.raises(NotMovedError, match="Is a directory"):
        check_content(file.parent, SHA256, max_bytes=100)


def test_a_link_is_no_file_and_a_file_no_link(file: Path) -> None:
    link = file.with_name("link.jpg")
    link.symlink_to(file.name)
    assert check_link(link, SHA256, max_bytes=100) == identity_of(link) != identity_of(file)
    with pytest.raises(NotMovedError, match="is a symbolic link by now"):
        check_content(link, SHA256, max_bytes=100)
    with pytest.raises(NotMovedError, match="is no symbolic link any more"):
        check_link(file, SHA256, max_bytes=100)


def test_a_file_is_moved_with_its_time_and_folders_are_made(file: Path) -> None:
    status = file.stat()
    destination = file.parent / "x/y/a.jpg"
    move_file(file, destination, identity_of(file))
    assert not file.exists()
    assert (destination.read_bytes(), destination.stat().st_mtime_ns) == (DATA, status.st_mtime_ns)


def test_a_file_is_copied_to_another_disk_and_then_removed(file: Path, other_disk: Path) -> None:
    status, link = file.stat(), file.with_name("link.jpg")
    link.symlink_to("nowhere/at all.jpg")
    try:
        for source in (file, link):
            move_file(source, other_disk / source.name, identity_of(source))
            assert not os.path.lexists(source)
        moved = other_disk / file.name
        assert (moved.read_bytes(), moved.stat().st_mtime_ns) == (DATA, status.st_mtime_ns)
        assert (other_disk / link.name).readlink() == Path("nowhere/at all.jpg")
        assert len(list(other_disk.iterdir())) == 2
    finally:
        for left in other_disk.iterdir():
            left.unlink()
        other_disk.rmdir()


def test_nothing_is_replaced(file: Path) -> None:
    destination = file.with_name("b.jpg")
    destination.write_bytes(b"another")
    with pytest.raises(NotMovedError, match="File exists"):
        move_file(file, destination, identity_of(file))
    assert (file.read_bytes(), destination.read_bytes()) == (DATA, b"another")
    assert free_name(destination) == file.with_name("b 2.jpg")
    file.with_name("b 2.jpg").symlink_to("nowhere")
    assert free_name(destination) == file.with_name("b 3.jpg")


def test_a_file_that_has_changed_since_its_check_stays(file: Path) -> None:
    identity = identity_of(file)
    file.write_bytes(DATA + b"!")
    for move in (lambda: move_file(file, file.with_name("b.jpg"), identity), lambda: move_to_trash(file, identity)):
        with pytest.raises(NotMovedError, match="has changed since it was checked"):
            move()
    assert [path.name for path in file.parent.iterdir()] == ["a.jpg"]


def test_one_entry_under_two_paths_is_known(file: Path) -> None:
    hard_link, folder_link = file.with_name("b.jpg"), file.with_name("same")
    os.link(file, hard_link)
    folder_link.symlink_to(file.parent)
    assert not is_one_entry(file, hard_link)
    assert is_one_entry(file, folder_link / file.name)
    assert not is_one_entry(file, folder_link / hard_link.name)


@pytest.mark.skipif(sys.platform != "linux", reason="the trash of other systems can't be put elsewhere")
def test_a_file_is_moved_to_the_trash_of_its_user(file: Path) -> None:
    # In a process of its own: the place of the trash is read when its module is imported.
    program = (
        "import sys; from pathlib import Path\n"
        "from imgret_assets.domain.review.file_moving import identity_of, move_to_trash\n"
        "file = Path(sys.argv[1]); move_to_trash(file, identity_of(file))"
    )
    environment = {**os.environ, "HOME": str(file.parent), "XDG_DATA_HOME": str(file.parent / "data")}
    subprocess.run([sys.executable, "-c", program, str(file)], env=environment, check=True)
    assert not file.exists()
    [trashed] = [path for path in file.parent.rglob("a.jpg") if path.is_file()]
    assert trashed.read_bytes() == DATA
    [info] = file.parent.rglob("a.jpg.trashinfo")
    assert "a.jpg" in info.read_text()
