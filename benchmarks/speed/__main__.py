"""Time what the package is made of: medians of CPU-seconds, one thread.

    python -m benchmarks.speed phisnet --output results
    python -m benchmarks.speed functional --model phisnet-chno --molecules 3
    python -m benchmarks.speed dynamics --model phisnet-chno --molecules 4
    python -m benchmarks.speed published --model FOLDER --data FILE
    python -m benchmarks.speed representation kernel peptide query
    python -m benchmarks.speed growth --model qdf-chno
    python -m benchmarks.speed training --data chno5_geometries.npz --molecules 10000 --output runs/streaming

- phisnet: networks of the paper's size (L = 4, F = 128, K = 128, 5 modules) with random weights, on which the speed
  does not depend, beside PySCF's SCF and the public programs.
- surfaces: energy and forces of the wavefunction for one molecule and for 16 together, beside PySCF's SCF and gradient,
  and a step of dynamics of one water; of the clock on a GPU.
- functional: energy and forces at the level of the functional (--model, phisnet-chno) for drug-like molecules of 20 to
  40 atoms, the first --molecules of five, beside PySCF's SCF and gradient with its usual settings; each once.
- dynamics: a step at the level of the wavefunction (--model, phisnet-chno) for ethanol and these molecules; of the
  clock on a GPU.
- published: the published quantum deep field beside its original. Without --model weights are random, and slower (of
  trained ones most ReLU units are silent on all points of a molecule, and are left out); without --data the molecules
  are those of ASE's G2 set.
- representation: aSLATM of molecules of QM9's size, those of --data or distorted ones, beside qmllib. The full layout
  spreads rows over the columns of all types, zeros included, as qmllib does; compact is what the regression takes.
- kernel: the local kernel between these molecules; qmllib's is extrapolated by the pairs of atoms of fewer.
- peptide: energy and forces of a capped pentaalanine from 500 molecules of this repository's data set.
- query: from the SMILES of a drug of 19 heavy atoms to a calculator, labels of its amons (GFN2-xTB) known.
- integrals: overlap, kinetic energy, nuclear attraction and SAP potential in def2-SVP, alone and with derivatives
  contracted with a random matrix, beside PySCF's; of the clock on a GPU.
- step: what a step of dynamics costs before the model computes; waters fly with velocities of 300 K.
- growth: energies and forces of alkanes and drops of water, with --model. Below 300 atoms the fixed cost of a call
  counts, and a quantum deep field keeps what its backward pass needs instead of computing it again.
- training: the first 20 steps of a PhiSNet on the geometries of --data, again and again, displaced at random, with
  labels that are made up, since memory and time do not depend on what they say.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pyscf import lib

from ase_mlwave.console import Console
from benchmarks.common import command_line, existing, figures_table, one_thread, positive, write_json
from benchmarks.speed import amons, dynamics, functional, growth, integrals, networks, surfaces, training

#: Name -> function that measures: column -> figure -> value.
CASES: Mapping[str, Callable[[argparse.Namespace], Mapping[str, Mapping[str, float]]]] = {
    "phisnet": networks.phisnet,
    "surfaces": surfaces.surfaces,
    "functional": functional.functional,
    "dynamics": dynamics.dynamics,
    "published": networks.published,
    "representation": amons.representation,
    "kernel": amons.kernel,
    "peptide": amons.peptide,
    "query": amons.query,
    "integrals": integrals.integrals,
    "step": growth.step,
    "growth": growth.growth,
    "training": training.training,
}


def main(words: Sequence[str] | None = None) -> None:
    """Print a table for each case, and write it as JSON."""
    shared = {"repeats": ..., "seed": ..., "device": "cpu", "dtype": ..., "output": Path("runs/speed")}
    parser = command_line("speed", __doc__, **shared)
    parser.add_argument("cases", nargs="+", choices=list(CASES), metavar="CASE", help=f"of {', '.join(CASES)}")
    parser.add_argument("--model", help="name in the zoo or folder, of functional, published, growth")
    parser.add_argument("--data", type=existing, help="structures of published, representation, kernel and training")
    parser.add_argument("--molecules", type=positive(int), default=1000, help="of representation, kernel and training")
    parser.add_argument("--atoms", type=positive(int), nargs="+", help="about, of the systems of step and growth")
    chosen = parser.parse_args(words)
    chosen.output.mkdir(parents=True, exist_ok=True)
    lib.num_threads(1)
    with one_thread():
        for name in chosen.cases:
            columns = CASES[name](chosen)
            Console().print(figures_table(columns, f"{name}, one thread"))
            write_json(chosen.output / f"{name}.json", columns)


if __name__ == "__main__":
    main()
