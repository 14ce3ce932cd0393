"""Where training data comes from: levels of theory, sampling of geometries, labelling."""
