"""Layer 2: adapters, objectives, the optimiser and the one training loop."""
