"""The dataset: records in atomic units, readers, splits, and the ASE database they are kept in."""
