"""A home on disk: its record, locks, whole-file writes, table schemas."""
