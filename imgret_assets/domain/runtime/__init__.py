"""The process that runs: processors, memory, batches, progress."""
