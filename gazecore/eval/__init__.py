"""One file = one task's protocol: model + artifact -> predictions and scores."""
