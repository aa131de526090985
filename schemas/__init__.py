"""One JSON document per artifact kind."""
