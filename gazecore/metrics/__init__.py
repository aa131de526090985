"""One file = one family of metrics: pure numpy functions over any leading batch axes."""
