"""Stages: each takes artifacts and gives back one artifact."""
