"""How fast imgret is here, beside what it is to be compared with: `make bench`.

Belongs here: contenders, rounds, the report. Not here: tests; nothing in here passes or fails a build.
"""
