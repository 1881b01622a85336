"""A storage of Dagster that is not its usual one.

Belongs here: a class that `dagster.yaml` can name. Not here: tests.
"""

from dagster._core.storage.sqlite_storage import DagsterSqliteStorage


class OtherStorage(DagsterSqliteStorage):
    """The usual storage under another name, as a database server would have."""
