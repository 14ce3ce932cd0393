"""Our models beside others, on the same molecules."""
