"""The memory of the page's process.

Belongs here: what Python's garbage collector looks at. Not here: what the page caches (`app.data_access`,
`app.components.thumbnails`).

A full collection looks at every object of the process. The page's process has some 600,000 from imported modules alone,
which takes a quarter of a second, and no other thread runs meanwhile. Streamlit would do that after every view;
`imgret app` turns it off. What a view leaves behind is collected by Python's own rule, when enough of it has gathered.
"""

import gc
import threading

_lock = threading.Lock()
_is_settled = False


def settle_memory() -> None:
    """Exempt all present objects from garbage collection; only the first call in a process does that.

    To be called after the first view: by then modules and caches are loaded, which stay as long as the process.
    Without them a full collection looks only at what views have made, and so comes earlier and is over sooner.
    """
    global _is_settled
    with _lock:
        if _is_settled:
            return
        # First, so that present garbage is not kept for good.
        gc.collect()
        gc.freeze()
        _is_settled = True
