"""The rules that make a fragment chemically sensible: one file per kind, one small class per rule."""
