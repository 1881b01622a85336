"""Attacks on finished homes: long rounds run by `make test-all`, with a sample of each in `make test`."""
