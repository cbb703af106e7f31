"""One file an objective: `loss(params, batch) -> (scalar, metrics)` and how its rows become batches."""
