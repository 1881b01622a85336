"""Limits of control groups, read from files as the kernel writes them on hosts and in containers."""

from collections.abc import Callable
from pathlib import Path

import pytest

from imgret_assets.domain.runtime.cgroups import cpu_limit, memory_limit_bytes

UNLIMITED_V1 = str(2**63 - 4096)


class Machine:
    """A process whose /proc folder names control groups under a temporary folder."""

    def __init__(self, folder: Path) -> None:
        self.process = folder / "proc"
        self.top = folder / "sys fs" / "cgroup"
        self.process.mkdir()
        self.mounts = ["25 30 0:23 / /proc rw,nosuid - proc proc rw"]
        self.groups: list[str] = []

    def mount(self, kind: str, options: str, *, root: str = "/", name: str = "") -> None:
        """Mount a hierarchy; a blank in a path is written as the kernel does it."""
        top = str(self.top / name).replace(" ", r"\040")
        self.mounts.append(f"31 23 0:28 {root} {top} rw,relatime shared:9 - {kind} {kind} {options}")

    def write(self, file: str, text: str) -> None:
        """Write a control group's file, and the process's own files as they are by now."""
        path = self.top / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
        (self.process / "mountinfo").write_text("\n".join(self.mounts) + "\n")
        (self.process / "cgroup").write_text("\n".join(self.groups) + "\n")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def v2(machine: Machine) -> Machine:
    machine.mount("cgroup2", "rw,nsdelegate")
    machine.groups = ["0::/pod/container"]
    return machine


@pytest.fixture
def v1(machine: Machine) -> Machine:
    machine.mount("cgroup", "rw,cpu,cpuacct", name="cpu,cpuacct")
    machine.mount("cgroup", "rw,memory", name="memory")
    machine.groups = ["12:cpu,cpuacct:/docker/abc", "11:memory:/docker/abc", "1:name=systemd:/docker/abc", "0::/"]
    return machine


@pytest.mark.parametrize(
    ("text", "limit"), [("150000 100000", 1.5), ("50000 100000", 0.5), ("max 100000", None), ("", None), ("x", None)]
)
def test_the_cpu_quota_of_version_2(v2: Machine, text: str, limit: float | None) -> None:
    v2.write("pod/container/cpu.max", text)
    assert cpu_limit(v2.process) == limit


def test_the_smallest_quota_of_a_group_and_those_above_counts(v2: Machine) -> None:
    """A pod's limit is set on the group above that of its container."""
    v2.write("pod/container/cpu.max", "400000 100000")
    v2.write("pod/cpu.max", "200000 100000")
    v2.write("pod/container/memory.max", "max")
    v2.write("pod/memory.max", "1000000")
    assert cpu_limit(v2.process) == 2.0
    assert memory_limit_bytes(v2.process) == 1_000_000


def test_a_sibling_s_limit_does_not_count(v2: Machine) -> None:
    v2.write("pod/sibling/cpu.max", "100000 100000")
    v2.write("pod/sibling/memory.max", "1000000")
    assert cpu_limit(v2.process) is None
    assert memory_limit_bytes(v2.process) is None


def test_in_a_namespace_of_its_own_a_container_is_the_top(machine: Machine) -> None:
    machine.mount("cgroup2", "rw")
    machine.groups = ["0::/"]
    machine.write("cpu.max", "300000 100000")
    machine.write("memory.max", "2147483648")
    assert cpu_limit(machine.process) == 3.0
    assert memory_limit_bytes(machine.process) == 2**31


@pytest.mark.parametrize(("quota", "limit"), [("250000", 2.5), ("-1", None)])
def test_the_cpu_quota_of_version_1(v1: Machine, quota: str, limit: float | None) -> None:
    v1.write("cpu,cpuacct/docker/abc/cpu.cfs_period_us", "100000")
    v1.write("cpu,cpuacct/docker/abc/cpu.cfs_quota_us", quota)
    assert cpu_limit(v1.process) == limit


def test_a_container_that_sees_the_host_s_path_of_its_group_reads_the_mounted_top(v1: Machine) -> None:
    v1.write("cpu,cpuacct/cpu.cfs_period_us", "50000")
    v1.write("cpu,cpuacct/cpu.cfs_quota_us", "100000")
    v1.write("memory/memory.limit_in_bytes", "536870912")
    assert cpu_limit(v1.process) == 2.0
    assert memory_limit_bytes(v1.process) == 2**29


def test_a_mount_of_the_group_itself_is_read(machine: Machine) -> None:
    machine.mount("cgroup", "rw,memory", root="/docker/abc", name="memory")
    machine.groups = ["11:memory:/docker/abc/inner"]
    machine.write("memory/inner/memory.limit_in_bytes", "1000")
    machine.write("memory/memory.limit_in_bytes", UNLIMITED_V1)
    assert memory_limit_bytes(machine.process) == 1000


def test_no_limit_of_version_1_is_more_than_any_memory(v1: Machine) -> None:
    v1.write("memory/docker/abc/memory.limit_in_bytes", UNLIMITED_V1)
    assert (memory_limit_bytes(v1.process) or 0) > 2**60


def test_another_controller_s_mount_is_not_read(machine: Machine) -> None:
    machine.mount("cgroup", "rw,cpuacct", name="cpuacct")
    machine.groups = ["2:cpu:/", "3:cpuacct:/"]
    machine.write("cpuacct/cpu.cfs_period_us", "100000")
    machine.write("cpuacct/cpu.cfs_quota_us", "100000")
    assert cpu_limit(machine.process) is None


@pytest.mark.parametrize("limit", [cpu_limit, memory_limit_bytes])
def test_without_proc_there_is_no_limit(tmp_path: Path, limit: Callable[[Path], float | None]) -> None:
    """As on macOS."""
    assert limit(tmp_path / "absent") is None
