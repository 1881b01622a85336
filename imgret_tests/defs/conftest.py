"""Fixtures of tests that run Dagster in this process, without Neo4j.

Belongs here: the assets over a temporary home. Not here: anything that starts a server (`support/neo4j_server.py`).
"""

from collections.abc import Iterator

import dagster as dg
import pytest

from imgret_assets.settings import Settings
from imgret_tests.support.chain import Chain


@pytest.fixture
def chain(settings: Settings) -> Chain:
    """The assets over an empty image root with four shards."""
    return Chain(settings)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """A Dagster instance in memory."""
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral
