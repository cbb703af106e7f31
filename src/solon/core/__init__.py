"""Layer 0: what every other part stands on. Records, weights, the one contraction, taps, artifacts, plug-ins, errors."""
