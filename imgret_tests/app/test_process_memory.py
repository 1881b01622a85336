"""What the page's garbage collector still looks at after the first view."""

import subprocess
import sys

# In a process of its own: frozen objects stay so.
SCRIPT = """
import gc, weakref
from imgret_assets.app.process_memory import settle_memory

class Node:
    pass

def circle():
    node = Node()
    node.itself = node
    return weakref.ref(node)

gc.disable()
kept, early = [Node() for _ in range(1000)], circle()
assert gc.get_freeze_count() < 1000
settle_memory()
frozen = gc.get_freeze_count()
assert early() is None, "garbage of before is kept for good"
assert frozen > 1000 and len(gc.get_objects()) < 1000, (frozen, len(gc.get_objects()))
late = circle()
settle_memory()
assert gc.get_freeze_count() <= frozen, "later calls exempt objects, too"
assert late() is not None
gc.collect()
assert late() is None, "later garbage is no longer collected"
print("done")
"""


def test_present_objects_are_exempt_once_and_garbage_is_still_collected() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
