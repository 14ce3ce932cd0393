"""Relax several waters at once with torch-sim, then let them vibrate at constant energy."""

from __future__ import annotations

import torch_sim as ts
from ase.build import molecule

from ase_mlwave.interfaces.torch_sim import MlwaveModel

model = MlwaveModel("phisnet-water")
waters = [molecule("H2O") for _ in range(4)]
for seed, atoms in enumerate(waters):
    atoms.rattle(0.05, seed=seed)

converged = ts.generate_force_convergence_fn(force_tol=0.02, include_cell_forces=False)  # eV/Angstrom
relaxed = ts.optimize(waters, model, optimizer=ts.optimizers.fire, convergence_fn=converged)
for atoms, energy in zip(ts.io.state_to_atoms(relaxed), relaxed.energy, strict=True):
    print(f"O-H {atoms.get_distance(0, 1):.3f} Angstrom, E {energy:.4f} eV")


def total_energy(state: ts.SimState) -> list[float]:
    kinetic = ts.calc_kinetic_energy(momenta=state.momenta, masses=state.masses, system_idx=state.system_idx)
    return (state.energy + kinetic).tolist()


steps = {"integrator": ts.nve, "timestep": 0.00025, "temperature": 300}  # ps, K
start = ts.integrate(relaxed, model, n_steps=1, seed=1, **steps)
end = ts.integrate(start, model, n_steps=50, **steps)
for before, after in zip(total_energy(start), total_energy(end), strict=True):
    print(f"total energy {before:.4f} eV, after 12.5 fs {1e3 * (after - before):+.2f} meV")
