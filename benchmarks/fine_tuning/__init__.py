"""What a few geometries of one molecule make of a general PhiSNet."""
