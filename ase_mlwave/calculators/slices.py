"""Pictures in a plane, by the names that scripts import: `ase_mlwave.plotting.planes` is their home."""

from ase_mlwave.plotting.planes import Plane, plot_density, plot_signed

__all__ = ["Plane", "plot_density", "plot_signed"]
