"""The `imgret` command: one thin module per command."""
