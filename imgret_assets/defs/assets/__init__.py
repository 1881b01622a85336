"""Assets, in three layers: `raw`, `vectors`, `graph`."""
