"""Layer 1: model families as pure functions over weight trees, where weights come from, and file formats."""
