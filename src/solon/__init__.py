"""Solon: raise an open language model by a written constitution, with the evidence that decides its release."""

__version__ = "0.1.0"
