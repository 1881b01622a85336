"""Makes the cache of the server's loaded classes once on a machine: half the time of every later start.

A server of a temporary home is started, does what the first run of a home asks of a server, and is ended. Belongs here:
that home and what is asked. Not here: the cache's file and Java's options (`domain.neo4j_server.class_cache`).
"""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, LiteralString, cast

from imgret_assets.domain.graph import cypher
from imgret_assets.domain.neo4j_server import class_cache, lifecycle
from imgret_assets.domain.neo4j_server.jars import assemble
from imgret_assets.domain.neo4j_server.run_file import Connection
from imgret_assets.domain.neo4j_server.time_limits import DRIVER_LIMITS
from imgret_assets.domain.storage import locks
from imgret_assets.errors import ImgretError
from imgret_assets.settings import Settings

# The file is written while the server ends.
WRITTEN_WITHIN_S = 180.0
# One name for all tries: a try that was killed may have left a running server, and the next one finds it.
FOLDER = ".neo4j-classes"
_INDEX = "image_embeddings"
_DIM = 4

Log = Callable[[str], None]


def record_classes(settings: Settings, *, log: Log) -> bool:
    """Make the cache unless this machine has it, and return whether it has it now.

    Without it all works, only slower: what fails here is told and not raised.

    Args:
        settings: with the cache of the jars.
        log: receives a line about what takes long and what failed.

    Raises:
        ServerError: the server's jars can't be downloaded.
    """
    from neo4j.exceptions import DriverError, Neo4jError  # the driver is not loaded where the cache is there

    jars = assemble(settings, log=log)
    file = class_cache.cache_file(jars.path)
    if file.is_file():
        return True
    try:
        with locks.hold(settings.cache, [FOLDER], timeout_s=settings.lock_timeout_s, purpose="preparing Neo4j's start"):
            if not file.is_file():
                log("preparing quick starts of Neo4j (once, about half a minute, 0.2 GB)")
                _record(settings, settings.cache / FOLDER, file)
    except (ImgretError, OSError, DriverError, Neo4jError) as error:
        log(f"Neo4j will start slower than it could: {error}")
        return False
    return True


def _record(settings: Settings, folder: Path, file: Path) -> None:
    neo4j = replace(settings.neo4j, uri=None, heap="512m", pagecache="128m")
    training = replace(settings, home=folder, neo4j=neo4j)
    recorded = folder / file.name
    try:
        _remove(training)
        folder.mkdir()
        server = lifecycle.ensure_running(training, jvm_flags=class_cache.record_flags(recorded))
        ask_as_a_first_run(server)
        lifecycle.stop(training, within_s=WRITTEN_WITHIN_S)
        recorded.replace(file)
    finally:
        _remove(training)


def _remove(training: Settings) -> None:
    if training.home.exists():
        lifecycle.stop(training, within_s=0.0)
        shutil.rmtree(training.home, ignore_errors=True)


def ask_as_a_first_run(server: Connection) -> None:
    """Send an empty graph the statements of a first run and of a query, about four nodes.

    Raises:
        neo4j.exceptions.Neo4jError, neo4j.exceptions.DriverError: the server does not answer them.
    """
    from neo4j import GraphDatabase

    auth = (server.username, server.password)
    limits: dict[str, Any] = {**DRIVER_LIMITS, "notifications_min_severity": "OFF"}
    with GraphDatabase.driver(server.uri, auth=auth, **limits) as driver:
        for statement, parameters in _statements():
            driver.execute_query(cast("LiteralString", statement), parameters)


def _statements() -> list[tuple[str, dict[str, Any]]]:
    paths = [f"{number}.jpg" for number in range(4)]
    nodes = [
        {"shard": "0", "sha256": path, "engine": "e", "model": "m", "label": "l", "taken": "2026-01-01T00:00:00"}
        for path in paths
    ]
    rows = [
        {"path": path, "properties": properties, "embedding": [1.0, float(number), 0.0, 0.0]}
        for number, (path, properties) in enumerate(zip(paths, nodes, strict=True))
    ]
    positions = [[path, f"{path} e", number] for number, path in enumerate(paths)]
    related = [{"a": paths[0], "b": paths[1], "sha_a": paths[0], "sha_b": paths[1], "properties": {}}]
    options = {"indexConfig": {"vector.dimensions": _DIM, "vector.similarity_function": "cosine"}}
    asked: dict[str, Any] = {each.parameter: None for each in cypher.FILTERS}
    asked |= {"excluded_paths": [], "vector": [1.0, 0.0, 0.0, 0.0], "candidates": 4, "limit": 2}
    kinds = [
        (statement, {"rows": related})
        for kind in cypher.RELATIONSHIPS.values()
        for statement in (kind.read, kind.write, kind.count)
    ]
    return [
        (cypher.HAS_GDS, {}),
        *((statement, {}) for statement in cypher.CREATE_SCHEMA),
        (cypher.create_vector_index(_INDEX, cypher.INDEXED_PROPERTIES), {"options": options}),
        (cypher.AWAIT_INDEXES, {"timeout_s": 60}),
        (cypher.HAS_SEARCH, {}),
        (cypher.WRITE_STATE, {"home": "h", "properties": {"state": "complete"}}),
        (cypher.READ_STATE, {}),
        (cypher.WRITE_NODES, {"rows": rows}),
        (cypher.READ_NODES, {"shards": ["0"], "vectors": True}),
        (cypher.CREATE_SIMILAR_TO, {"nodes": positions, "pairs": [[0, 1, 0.9], [1, 2, 0.8]], "model": "m"}),
        (cypher.READ_SIMILAR_TO, {"shards": ["0"], "model": "m"}),
        *kinds,
        (cypher.BAD_VECTORS, {"dim": _DIM, "limit": 5}),
        (cypher.BAD_SIMILAR_TO, {}),
        (cypher.nearest_by_search(_INDEX, ()), asked),
        (cypher.NEAREST_OF_ALL_GDS, asked),
        (cypher.SIMILAR_TO_OF, {"paths": paths}),
        (cypher.BEST_RELATIONSHIPS_OF, {"paths": paths, "min_score": 0.0, "limit_per_image": 3}),
    ]
