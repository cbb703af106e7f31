"""Layer 2: sampling with a cache, continuous batching, and rollouts."""
