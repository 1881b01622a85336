"""A home on disk: its record, locks, tables, files that appear whole or not at all."""
