"""Analysis of scores: what each threshold gives, groups of images, ranking quality, plots."""
