"""A small library with duplicates, and how tests read its review queue.

Belongs here: refreshing the tables, sets as lists of paths. Not here: images (`support/scenes.py`).
"""

from dataclasses import replace

from imgret_assets.domain.duplicates.duplicate_search import NEAR
from imgret_assets.domain.duplicates.duplicates_table import refresh_duplicates
from imgret_assets.domain.embeddings.embeddings_table import refresh_embeddings
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.review.queue import read_review_queue
from imgret_assets.domain.review.review_sets import ReviewSet
from imgret_assets.domain.similarity.pairs_table import refresh_pairs
from imgret_assets.domain.storage.home import Home
from imgret_assets.settings import load_settings
from imgret_tests.support.fake_model import FakeEmbedder
from imgret_tests.support.scenes import near_duplicates_of, scene
from imgret_tests.support.tree import put

SPACE = FakeEmbedder().space.id


def refresh(home: Home, *, threshold: float = 0.8) -> None:
    """Refresh all tables that the review queue is made from."""
    refresh_manifest(home)
    refresh_embeddings(home, FakeEmbedder())
    refresh_duplicates(home, SPACE)
    refresh_pairs(home, SPACE, threshold)


def put_near_duplicates(home: Home, seed: int, *names: str) -> list[str]:
    """Write near-duplicates of a scene under `copies/`; return their paths."""
    data = near_duplicates_of(scene(seed))
    return [put(home.images, f"copies/{seed}-{name}", data[name]) for name in names]


def paths(review_set: ReviewSet) -> list[str]:
    """Return the paths of a set, the file to keep first."""
    return [member.path for member in review_set.members]


def undecided_paths(home: Home, kind: str = NEAR) -> list[list[str]]:
    """Return the paths of each undecided set."""
    return [paths(review_set) for review_set in read_review_queue(home).sets(kind)]


def only_set(home: Home, kind: str = NEAR) -> ReviewSet:
    """Return the one undecided set of a kind."""
    [review_set] = read_review_queue(home).sets(kind)
    return review_set


def set_of(home: Home, path: str) -> ReviewSet:
    """Return the undecided set that has a file."""
    review_set = read_review_queue(home).find(path)
    assert review_set is not None
    return review_set


def with_protected(home: Home, folders: str) -> Home:
    """Return the home with protected folders."""
    protected = load_settings({"protected": folders}).protected
    return replace(home, settings=replace(home.settings, protected=protected))
