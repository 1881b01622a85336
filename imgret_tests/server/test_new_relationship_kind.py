"""A new kind of relationship is one table module, one entry of the list and one asset; everything else follows."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from neo4j import Driver

from imgret_tests.support import same_camera_process
from imgret_tests.support.neo4j_server import TestedServer, clean_environment

pytestmark = pytest.mark.server


def test_a_fourth_kind_is_written_checked_shown_exported_and_deleted(
    tested_server: TestedServer, database: Driver, tmp_path: Path
) -> None:
    server = tested_server.connection
    done = subprocess.run(
        [sys.executable, "-m", same_camera_process.__name__, tmp_path, server.uri, server.username, server.password],
        env=clean_environment() | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    a, b, c, d, e = (f"family{number}/picture{number:04d}.png" for number in range(5))
    expected = [[a, c, "alpha"], [b, d, "beta"], [c, e, "alpha"]]
    assert found["stored"] == expected
    assert found["check"] == ["relationships_equal_cameras", True]
    assert found["repaired"] == [True, expected], "what was changed by hand is repaired by the next run"
    assert found["shown"] == [[[a, c, "SAME_CAMERA"]], 1], "no lowest score excludes a kind without a score"
    assert ":green[dashed]: SAME_CAMERA" in found["legend"]
    assert found["exported"]["SAME_CAMERA"] == 3
    header, *rows = (tmp_path / "export/relationships.csv").read_text(encoding="utf-8").splitlines()
    assert header.endswith('"camera"')
    assert sum('"SAME_CAMERA"' in row for row in rows) == 3
    assert found["after_a_replaced_image"] == expected[1:], "a replaced image loses its relationships at once"
    assert found["after_adopt"] == []
