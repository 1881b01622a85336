"""What the running process may use, and long work in it: processors, memory, batches, progress."""
