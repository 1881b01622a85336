"""A home in which nothing is behind, made by the functions alone and without a database.

Belongs here: the tables of a whole run, and the home's record of a graph that no test looks at. Not here: a real graph
(`graph_fixtures.py`).
"""

from imgret_assets.domain.analysis.threshold_report import refresh_threshold_report
from imgret_assets.domain.graph.graph_record import graph_inputs, recorded
from imgret_assets.domain.storage.home import Home
from imgret_tests.support.fake_model import FakeEmbedder
from imgret_tests.support.graph_fixtures import refresh_all


def catch_up(home: Home, embedder: FakeEmbedder) -> None:
    """Do what a run does, but for the graph: of that only the record is written."""
    refresh_all(home.settings, embedder, tables_only=True)
    refresh_threshold_report(home, embedder.space.id)
    record_graph(home, embedder.space.id)


def record_graph(home: Home, space: str) -> None:
    """Record that the graph is equal to the tables as they are."""
    with recorded(home, space, list(graph_inputs(home, space))):
        pass
