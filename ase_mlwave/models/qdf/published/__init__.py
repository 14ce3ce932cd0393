"""The quantum deep field as published: the same numbers as the original program, from its weights."""
