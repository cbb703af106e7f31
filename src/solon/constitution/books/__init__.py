"""Constitutions that come with Solon, as YAML files."""
