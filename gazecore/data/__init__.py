"""One file = one task: artifact -> batches, augmentation included."""
