"""A process in which the list of relationship kinds has a fourth entry, SAME_CAMERA.

Belongs here: adding the entry, its one asset, and printing as JSON what the project makes of them. Not here: the entry
(`imgret_tests.support.same_camera_kind`), the table module (`imgret_tests.support.same_camera`), what is expected
(`server/test_new_relationship_kind.py`).

It is a process of its own because statements and schemas are made from the list when their modules are imported.
"""

import json
import sys
from pathlib import Path
from typing import Any

from imgret_assets.domain.graph import relationship_kinds
from imgret_tests.support.same_camera_kind import SAME_CAMERA

CAMERAS = ("alpha", "beta", "alpha", "beta", "alpha")


def main(folder: Path, uri: str, username: str, password: str) -> dict[str, Any]:
    """Build a graph of five images by two cameras and return what became of it.

    Args:
        folder: an empty folder for images and home.
        uri: of an empty database.
        username: of its login.
        password: of its login.
    """
    # Imported only now: the list has its fourth entry.
    import dagster as dg
    import pyarrow as pa
    from neo4j import GraphDatabase

    from imgret_assets.app.graph_chart.echarts_options import line_legend
    from imgret_assets.defs.assets.graph.relationships import build_relationship_asset
    from imgret_assets.domain.graph import graph_state
    from imgret_assets.domain.operations.export import export_graph
    from imgret_assets.domain.search.relations import best_relationships
    from imgret_assets.domain.storage import tables
    from imgret_assets.settings import load_settings
    from imgret_tests.support import same_camera
    from imgret_tests.support.chain import Chain
    from imgret_tests.support.graph_fixtures import Graph
    from imgret_tests.support.pictures import picture_bytes, write_pictures
    from imgret_tests.support.tree import put

    given = {"neo4j_uri": uri, "neo4j_username": username, "neo4j_password": password}
    paths = sorted(write_pictures(folder / "images", 5))
    chain = Chain(load_settings({"home": folder / "home", "images": folder / "images", "shards": 4, **given}))
    with GraphDatabase.driver(uri, auth=(username, password)) as driver:
        graph = Graph(chain, driver)
        graph.refresh()
        rows = [
            {"path": path, "sha256": node["sha256"], "camera": camera}
            for path, node, camera in zip(paths, graph.nodes(), CAMERAS, strict=True)
        ]
        tables.write(same_camera.cameras_path(chain.home), pa.Table.from_pylist(rows), {})
        asset = build_relationship_asset(SAME_CAMERA, description="One SAME_CAMERA relationship for every two images.")
        job = dg.define_asset_job("cameras", dg.AssetSelection.assets(SAME_CAMERA.asset))
        definitions = dg.Definitions.merge(chain.definitions, dg.Definitions(assets=[asset], jobs=[job]))
        run = definitions.resolve_job_def("cameras").execute_in_process()
        [check] = run.get_asset_check_evaluations()
        found: dict[str, Any] = {
            "stored": stored(graph),
            "check": [check.check_name, check.passed],
            "legend": line_legend("near"),
        }
        with graph.database() as database:
            edges, totals = best_relationships(database, [paths[0]], min_score=1.0, limit_per_image=9)
            found["shown"] = [[edge.source, edge.target, edge.kind] for edge in edges], totals[paths[0]]
            exported = export_graph(chain.home, chain.space, folder / "export", "csv")
            found["exported"] = exported.relationships
            graph.rows("MATCH ()-[r:SAME_CAMERA]->() WITH r LIMIT 1 SET r.camera = 'mine'")
            [check] = definitions.resolve_job_def("cameras").execute_in_process().get_asset_check_evaluations()
            found["repaired"] = [check.passed, stored(graph)]
            put(chain.root, paths[0], picture_bytes(77))
            graph.refresh()
            found["after_a_replaced_image"] = stored(graph)
            graph_state.adopt(database)
            found["after_adopt"] = stored(graph)
    return found


def stored(graph: Any) -> list[list[str]]:
    """Return source, target and camera of each SAME_CAMERA relationship."""
    rows = graph.rows(
        "MATCH (a)-[r:SAME_CAMERA]->(b) RETURN a.path AS a, b.path AS b, r.camera AS camera ORDER BY a, b"
    )
    return [[row["a"], row["b"], row["camera"]] for row in rows]


if __name__ == "__main__":
    relationship_kinds.KINDS = (*relationship_kinds.KINDS, SAME_CAMERA)  # type: ignore[assignment]
    json.dump(main(Path(sys.argv[1]), *sys.argv[2:]), sys.stdout)
