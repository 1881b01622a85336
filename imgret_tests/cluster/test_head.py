"""The head is lost in a search, which ends within its time; the next run goes on from the files."""

from pathlib import Path

from imgret_assets.domain.cluster.ray_cluster import connect
from imgret_tests.support.cluster_search import pairs_digest
from imgret_tests.support.processes import Process
from imgret_tests.support.ray_nodes import ClusterOfNodes

# In a process of its own: this one is connected to the cluster of all tests.
_OTHER_CLUSTER = """
from imgret_tests.support.ray_nodes import running_nodes
with running_nodes(120 << 20, nodes=1, head_timeout_s=2) as nodes:
    say(nodes.address)
    wait()
    nodes.kill_head()
    say("killed")
    wait()
"""
_DRIVER = """
from pathlib import Path
from imgret_assets.domain.cluster.ray_cluster import connect
from imgret_assets.errors import ClusterError
from imgret_tests.support.cluster_search import pairs_digest
cluster, folder = connect(sys.argv[1]), Path(sys.argv[2])
def meanwhile(computed):
    if computed == 5:
        say("computed")
        wait()
try:
    say("digest: " + pairs_digest(lambda search: search.compute_on(cluster, folder), folder, meanwhile))
except ClusterError as error:
    say(f"error: {error}")
except Exception as error:
    say(f"unnamed: {error!r}")
"""
# Ray gives up by itself once the head has been silent for so long.
_ENDS_WITHIN_S = 60.0


def test_the_head_is_killed_and_the_next_run_goes_on_from_the_files(cluster: ClusterOfNodes, tmp_path: Path) -> None:
    with Process(_OTHER_CLUSTER) as other, Process(_DRIVER, [other.hear(), tmp_path]) as driver:
        assert driver.hear() == "computed"
        other.go()
        assert other.hear() == "killed"
        lines, _ = driver.popen.communicate("go\n", timeout=_ENDS_WITHIN_S)
        other.go()
        other.popen.wait(_ENDS_WITHIN_S)
    # Ray writes lines of its own among these.
    answers = [line for line in lines.splitlines() if line.startswith(("digest: ", "error: ", "unnamed: "))]
    expected = pairs_digest()
    # It notices the loss, is ended by Ray itself, or is faster than both: that depends on whose raylet it uses.
    assert answers in ([], [f"digest: {expected}"]) or answers[0].startswith("error: "), lines
    finished = len(list(tmp_path.glob("*.npz")))
    assert finished >= 5
    connection = connect(cluster.address)
    assert connection is not None
    computed: list[int] = []
    digest = pairs_digest(lambda search: search.compute_on(connection, tmp_path), tmp_path, computed.append)
    assert digest == expected
    assert computed[-1] == 36 - finished
