"""Predict to disk, then score from disk: methods on scenes, on equal terms. Start at `predict` and `score`."""
