"""Tables of a home in an object store, from which other machines read and continue them.

The store holds objects that never change, and two small ones that do:

- `objects/<sha256>`: the content of one or several table files, uploaded once.
- `generations/<name>.json`: the files of one complete state of the tables: path, sha256, bytes and object of each.
- `CURRENT`: the name of the generation in force. It is replaced only if it is still the version that the run has read,
  so two runs never overwrite each other.
- `LEASE`: the run that may commit. It keeps others from working in vain; that nothing is overwritten does not depend on
  it, because a run that takes the lease also marks `CURRENT`: a run that was suspended for longer than its lease can't
  commit any more.

Belongs here: the store (`bucket`), the lease, generations and their pointer. Not here: which files of a home are
shared, and the home itself (`domain.operations.table_store`, `domain.storage.pull_swap`).
"""
