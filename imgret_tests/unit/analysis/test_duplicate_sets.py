"""Which images are duplicates of each other for a measurement of quality."""

import itertools

from imgret_assets.domain.analysis.duplicate_sets import (
    duplicates_state,
    join_duplicates,
    read_duplicate_sets,
    select_distinct,
)
from imgret_assets.domain.duplicates.duplicates_table import METHOD, refresh_duplicates
from imgret_assets.domain.embeddings.embeddings_table import refresh_embeddings
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.storage.home import Home
from imgret_tests.support.fake_model import FakeEmbedder


def same_key(paths: list[str], keys: list[str]) -> set[tuple[str, str]]:
    named = zip(paths, keys, strict=True)
    return {(a, b) for (a, key_a), (b, key_b) in itertools.combinations(named, 2) if key_a == key_b}


def test_equal_contents_and_pairs_join_images_also_over_images_that_are_not_measured() -> None:
    paths = ["a", "b", "c", "d", "e", "f"]
    keys = join_duplicates(paths, ["1", "1", "2", "3", "4", "5"], [("c", "b"), ("d", "gone"), ("e", "gone")])
    assert same_key(paths, keys) == {("a", "b"), ("a", "c"), ("b", "c"), ("d", "e")}


def test_a_path_that_is_also_a_content_joins_nothing() -> None:
    assert len(set(join_duplicates(["x", "y"], ["y", "z"], []))) == 2


def test_a_long_chain_is_one_set() -> None:
    paths = [f"{number:05d}" for number in range(20_000)]
    keys = join_duplicates(paths, paths, list(itertools.pairwise(paths)))
    assert len(set(keys)) == 1


def test_the_duplicates_table_is_used_if_there_is_one(built: Home) -> None:
    original = next(path for path in sorted(built.images.folder.rglob("*")) if path.is_file())
    copy = built.images.local(f"backup/copy{original.suffix}")
    copy.parent.mkdir()
    copy.write_bytes(original.read_bytes())
    rebuild(built)
    paths = [path.relative_to(built.images.folder).as_posix() for path in (original, copy)]
    # As if the contents differed, so that only the table joins the two.
    assert len(set(read_duplicate_sets(built, paths, ["1", "2"]))) == 2
    assert duplicates_state(built) == ""
    refresh_duplicates(built, FakeEmbedder().space.id)
    assert len(set(read_duplicate_sets(built, paths, ["1", "2"]))) == 1
    assert duplicates_state(built) == f"{METHOD}, 0 unread"


def rebuild(home: Home) -> None:
    refresh_manifest(home)
    refresh_embeddings(home, FakeEmbedder())


def test_of_duplicates_the_image_in_the_folder_with_the_fewest_backups_is_measured() -> None:
    # Two of four images of cats have backups, which are listed first; all backups have an original.
    sets = ["a", "b", "a", "b", "c", "d", "e"]
    labels = ["backup", "backup", "cats", "cats", "cats", "cats", None]
    assert select_distinct(sets, labels).tolist() == [2, 3, 4, 5, 6]


def test_if_everything_has_a_backup_the_smaller_folder_counts() -> None:
    sets = ["a", "b", "c", "a", "b", "c"]
    labels = ["all", "all", "all", "cats", "cats", "dogs"]
    assert select_distinct(sets, labels).tolist() == [3, 4, 5]


def test_an_image_with_a_label_is_measured_before_one_without() -> None:
    assert select_distinct(["a", "a", "b", "b"], [None, "cats", "", "dogs"]).tolist() == [1, 3]
    assert select_distinct([], []).tolist() == []
