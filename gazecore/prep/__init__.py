"""One file = one dataset: its original files on disk -> records."""
