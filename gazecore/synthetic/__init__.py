"""One file = one made data set, written in its original layout on disk."""
