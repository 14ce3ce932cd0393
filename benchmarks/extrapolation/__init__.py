"""Models that learned from small molecules, tested on larger ones."""
