"""Where rows come from and whether they may be used: formats, sources by name, splits, duplicates, a preview."""
