"""Assets, in layers: `raw` -> `vectors` -> `graph`."""
