"""Fourth layer: assets in the object store that other machines read: the tables as they were published."""
