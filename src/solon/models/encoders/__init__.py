"""Text encoders: small models that read a whole text in both directions and give it a vector."""
