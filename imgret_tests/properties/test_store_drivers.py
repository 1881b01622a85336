"""Several machines with one store, in any order, each of which may sleep for longer than its lease at any time.

Belongs here: lease, pointer and removal together. Not here: homes (`unit/operations/test_table_store.py`), a process
that dies.
"""

import hashlib
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from imgret_assets.domain.storage.object_store import generations, removal
from imgret_assets.domain.storage.object_store.generations import Generation, Pointer
from imgret_assets.domain.storage.object_store.lease import Lease, take_lease
from imgret_assets.errors import ChangedObjectError
from imgret_tests.support.memory_bucket import MemoryBucket

MACHINES = st.integers(0, 2)


class Machine:
    """A machine within a run: its lease, the pointer as it has claimed it, the items of the tables it has taken."""

    def __init__(self, lease: Lease, pointer: Pointer, items: list[str]) -> None:
        self.lease, self.pointer, self.items = lease, pointer, items


class Store(RuleBasedStateMachine):
    """The model is the list of items that were committed: a commit adds one to those that its run has taken."""

    def __init__(self) -> None:
        super().__init__()
        self.bucket = MemoryBucket()
        self.folder = tempfile.TemporaryDirectory()
        self.safe_age, generations.SAFE_AGE = generations.SAFE_AGE, timedelta(days=-1)
        removal.SAFE_AGE = generations.SAFE_AGE
        self.machines: dict[int, Machine] = {}
        self.committed: list[str] = []
        self.now_s = 0.0

    def teardown(self) -> None:
        generations.SAFE_AGE = removal.SAFE_AGE = self.safe_age
        self.folder.cleanup()

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def read_items(self, name: str | None) -> list[str]:
        if name is None:
            return []
        [file] = generations.read_generation(self.bucket, name).files.values()
        content = self.bucket.content(file.object)
        assert hashlib.sha256(content).hexdigest() == file.sha256
        return content.decode().split()

    @rule(number=MACHINES)
    def take(self, number: int) -> None:
        """Begin a run; whoever holds the lease sleeps meanwhile."""
        lease = take_lease(
            self.bucket,
            copy=str(number),
            holder=str(number),
            timeout_s=1000.0,
            clock=lambda: self.now_s,
            sleep=self.sleep,
        )
        pointer = generations.read_pointer(self.bucket)
        pointer = generations.claim(self.bucket, pointer, home="home", fence=lease.fence)
        self.machines[number] = Machine(lease, pointer, self.read_items(pointer.generation))

    @precondition(lambda self: self.machines)
    @rule(number=MACHINES, item=st.sampled_from("abcdef"))
    def commit(self, number: int, item: str) -> None:
        """Wake up and commit; only who is not overtaken succeeds."""
        machine = self.machines.get(number)
        if machine is None:
            return
        items = [*machine.items, item]
        content = " ".join(items).encode()
        file = Path(self.folder.name) / "table"
        file.write_bytes(content)
        digest, fence = hashlib.sha256(content).hexdigest(), machine.lease.fence
        stored = generations.upload(self.bucket, file, digest, fence=fence, now=datetime.now(UTC))
        name = generations.new_name(len(items))
        generation = Generation(name, len(items), "home", "", "", "", "", {"table": stored})
        try:
            machine.pointer = generations.commit(self.bucket, machine.pointer, generation)
        except ChangedObjectError:
            del self.machines[number]
            return
        assert machine.items == self.committed, "it has continued what was in force"
        machine.items = items
        self.committed = items

    @precondition(lambda self: self.machines)
    @rule(number=MACHINES)
    def remove_unused(self, number: int) -> None:
        machine = self.machines.get(number)
        if machine is None:
            return

        def renew() -> bool:
            machine.lease.renew()
            return not machine.lease.is_lost

        try:
            removal.remove_unused(self.bucket, machine.pointer, renew)
        except ChangedObjectError:
            assert machine.lease.is_lost

    @rule(number=MACHINES)
    def release(self, number: int) -> None:
        if number in self.machines:
            self.machines.pop(number).lease.release()

    @invariant()
    def the_pointer_names_a_complete_generation(self) -> None:
        pointer = generations.read_pointer(self.bucket)
        assert self.read_items(pointer.generation if pointer else None) == self.committed


TestStore = Store.TestCase
TestStore.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
