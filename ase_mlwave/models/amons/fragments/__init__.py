"""Fragments of a query: bonds, cuts, rules, caps, and the geometries of what was cut out."""
