"""The library under the `gz` commands: gaze following, point of gaze, eyes, VQA, anticipation."""

__version__ = "0.1.0"
