"""Follows values through SQL: an abstract interpreter over the sqlglot tree, see queries.py."""
