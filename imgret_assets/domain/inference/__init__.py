"""Running a model over images: the engines, the choice between them, and the proof that they agree."""
