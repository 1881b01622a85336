"""Counts that the steps of one run pass to the function that executes it.

Belongs here: the counts. Not here: what the tables and the graph hold after a run (`domain.operations.run_totals`),
metadata of materialisations (`defs.metadata`).
"""

from dataclasses import dataclass


@dataclass
class RunCounts:
    """Counts of work done in this process.

    A plain object, not a `ConfigurableResource`: Dagster copies those for every run, and the counts must reach the
    caller of `execute_in_process`. It is not read where Dagster's own processes run the assets.

    Attributes:
        embedded: images that the graph's model has embedded.
    """

    embedded: int = 0
