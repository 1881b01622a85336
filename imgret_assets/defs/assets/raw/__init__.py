"""Layer one: what files there are."""
