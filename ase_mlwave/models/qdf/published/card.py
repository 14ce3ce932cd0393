"""The card of an imported published model."""

from __future__ import annotations

from ase_mlwave.models.qdf.published.config import PublishedConfig

__all__ = ["published_card"]

_ATOMIZATION = """\
**The energy is the atomization energy: negative, in eV, relative to the free atoms.** It is not a total energy; do not
compare it with those of other models or methods without adding the atoms' energies.
"""

_OTHER = """\
This model predicts no energy of the molecule, so `get_potential_energy` is refused: `calc.outputs(atoms)` gives what it
predicts, in eV.
"""


def published_card(config: PublishedConfig, checkpoint: str) -> str:
    """Write the card of a model that was imported.

    Parameters
    ----------
    config : PublishedConfig
        Its settings.
    checkpoint : str
        Name of the file that its weights come from.

    Returns
    -------
    str
        Markdown.
    """
    meaning = _ATOMIZATION if "atomization_energy" in config.outputs else _OTHER
    return f"""\
# Published quantum deep field, imported

Weights of the original program, from `{checkpoint}`, by `mlwave import-qdf`. Predictions are those of that program.

{meaning}
| setting | value |
|---|---|
| outputs (eV) | {", ".join(config.outputs)} |
| elements | {", ".join(config.elements)} |
| level of theory of the training data | {config.level} |
| grid interval, radius around each atom (A) | {config.grid_interval_angstrom:g}, {config.radius_angstrom:g} |
| pooling | {config.pooling} |
| orbital types, width | {len(config.orbital_names())}, {config.width} |
| energy functional | {config.functional_layers} layers |
| Hohenberg-Kohn map | {config.map_layers} layers of {config.map_width} |

## What it is not for

- Relaxation and dynamics: the energy has jumps and false minima along every bond, so there are no forces.
- Comparing orientations: the grid does not turn with the molecule, and neither does the energy.
- Fragments: the energy of two distant molecules is not the sum of theirs.

Models with `field: quadrature` have none of these limits.

## Source and licence

M. Tsubaki and T. Mizoguchi, Phys. Rev. Lett. 125, 206401 (2020); NeurIPS 33 (2020). The licence of the weights is that
of whoever published them.
"""
