"""Dagster resources: thin wrappers that hand out plain domain objects."""
