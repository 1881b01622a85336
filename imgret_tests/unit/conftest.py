"""Fixtures of the unit ring: no Dagster, no network, no downloaded weights, no Neo4j."""

import pytest

from imgret_assets.domain import scan


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as old as soon as they are listed: their ctime can't be set back to make them so."""
    monkeypatch.setattr(scan, "RACY_NS", 0)
