"""How unlike the training data an atom's surroundings are: a measure for any model, from the geometry alone."""
