"""The sample catalogue: drawn product pictures with known look-alikes, or a public data set.

Belongs here: drawing and laying out pictures to try imgret on. Not here: anything that a user's own pictures need.
"""
