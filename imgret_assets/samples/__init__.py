"""Sample images: drawn product images with known similar images and duplicates, or a public data set.

Belongs here: drawing images to try imgret with, and the folders of these. Not here: anything that a user's own images
need.
"""
