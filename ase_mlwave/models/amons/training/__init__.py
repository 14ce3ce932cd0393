"""Fitting a model to a whole data set: ``mlwave train`` with ``kind: amons``."""
