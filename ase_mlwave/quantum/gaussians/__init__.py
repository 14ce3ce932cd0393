"""One-electron integrals over spherical Gaussians, in batches, on any device, with derivatives."""
