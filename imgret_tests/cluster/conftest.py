"""One Ray cluster on this machine for all tests of this folder: a head without CPUs, and two nodes of one CPU.

Belongs here: one for all tests. Not here: starting and ending it (`support.ray_nodes`), what runs on it. Without the
extra `ray` the tests are skipped; where IMGRET_TEST_REQUIRE_RAY is set, that is an error.
"""

import importlib.util
import os
from collections.abc import Iterator

import pytest

from imgret_tests.support.ray_nodes import ClusterOfNodes, running_nodes
from imgret_tests.support.s3_server import ObjectStore

STORE_BYTES = 120 << 20


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark and, without the extra, skip the tests of this folder."""
    missing = importlib.util.find_spec("ray") is None
    if missing and os.environ.get("IMGRET_TEST_REQUIRE_RAY"):
        raise pytest.UsageError("IMGRET_TEST_REQUIRE_RAY is set, and ray is not installed")
    for item in items:
        if item.path.is_relative_to(os.path.dirname(__file__)):  # noqa: PTH120
            item.add_marker(pytest.mark.ray)
            if missing:
                item.add_marker(pytest.mark.skip(reason="ray is not installed: pip install 'imgret[ray]'"))


@pytest.fixture(scope="session")
def cluster(one_store: ObjectStore) -> Iterator[ClusterOfNodes]:
    """A cluster, with a token of its own, to which nobody is connected yet; its nodes know the store."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in one_store.environment.items():
            patch.setenv(name, value)
        with running_nodes(STORE_BYTES) as cluster:
            yield cluster
