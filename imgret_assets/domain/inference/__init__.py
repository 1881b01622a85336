"""Running a model over images: engines and how well they agree."""
