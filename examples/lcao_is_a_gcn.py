"""See that a linear combination of atomic orbitals is a graph convolution: the same numbers, and what would break it.

A chemist writes an orbital of a molecule as a sum over its atoms j and the orbital types t of each,

    psi_n(r) = sum_j sum_t c_{e(j),t,n} phi_{e(j),t}(|r - R_j|),          in matrices  Psi = Phi C,

here with coefficients c that belong to the element e(j), as in a quantum deep field. Now draw a graph. Its nodes are
the atoms and any number of points in space; every point is linked to every atom. An atom's feature x_j is its element
(one number 1, the rest 0), an edge of channel t carries the weight A_t[i, j] = phi_{e(j),t}(|r_i - R_j|), made of its
length and of the element it comes from, and the layer has one weight matrix W_t per channel, whose rows are the
coefficient vectors of the elements:

    Psi = sum_t A_t (X W_t),

each point adding up what its neighbours send. That is one graph convolution without bias and without activation, and it
is the sum above with its factors grouped differently. The same holds with the points left out: the projections
<phi_p|psi_n> = (S C)_pn are one convolution on the graph of atoms, whose adjacency matrix S, the overlaps, depends on
nothing but distances.

What makes the basis poor is not the layer, but what is put on its edges and nodes: no angles on the edges (no p
orbitals, so no pi bonds) and one coefficient vector for all atoms of an element (so no orbital that changes its sign
between two equal atoms). The script measures both on the orbitals of a PBE calculation, and then adds what deeper
networks have: a second layer, or an activation. Nothing is trained and nothing is downloaded.

Source: Tsubaki and Mizoguchi, "On the equivalence of molecular graph convolution and molecular wave function with poor
basis set", NeurIPS 2020.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from ase.build import molecule
from ase.units import Bohr
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from pyscf import dft, gto
from torch import Tensor

from ase_mlwave import Plane, plot_signed
from ase_mlwave.models.qdf.config import QDFConfig
from ase_mlwave.models.qdf.exponentials import log_terms
from ase_mlwave.models.qdf.orbitals import AtomicOrbitals

EXPONENTS = {"H": (0.1, 0.3, 1.0, 4.0), "C": (0.12, 0.4, 2.0, 15.0), "N": (0.15, 0.5, 2.5, 20.0)}  # Bohr^-2
TYPES = 4
SHOWN = 6  # the orbital in the pictures, counted from 0

atoms = molecule("C4H4NH")  # pyrrole
positions = torch.from_numpy(atoms.positions / Bohr)
types = {symbol: tuple(("1s", z) for z in exponents) for symbol, exponents in EXPONENTS.items()}
layer = AtomicOrbitals(QDFConfig(elements=tuple(EXPONENTS), orbitals=types, exponents=(0.05, 50.0), dimension=18))
elements = list(EXPONENTS)
species = torch.tensor([elements.index(symbol) for symbol in atoms.symbols])
zeta = layer.exponents().detach()  # (element, type)


# --- the chemist's side: PySCF, which knows nothing of graphs ---------------------------------------------------------

basis = {symbol: [[0, [float(z), 1.0]] for z in zeta[elements.index(symbol)]] for symbol in elements}
geometry = [(symbol, tuple(place)) for symbol, place in zip(atoms.symbols, positions.tolist(), strict=True)]
mol = gto.M(atom=geometry, unit="Bohr", basis=basis, verbose=0)
S = mol.intor("int1e_ovlp")

reference = dft.RKS(gto.M(atom=geometry, unit="Bohr", basis="def2-svp", verbose=0), xc="pbe").density_fit()
reference.grids.level = 1
reference.kernel()
n_occupied = reference.mol.nelectron // 2
cross = gto.intor_cross("int1e_ovlp", mol, reference.mol) @ reference.mo_coeff[:, :n_occupied]

# Rows of `shared` say which atomic orbitals have which coefficient in common: those of a type and an element.
shared = np.kron(np.eye(len(elements))[species], np.eye(TYPES))
free = np.linalg.solve(S, cross)  # (M, d): the best approximation of PBE's orbitals with coefficients for every atom
common = np.linalg.solve(shared.T @ S @ shared, shared.T @ cross)  # (element and type, d): ... for every element
C = shared @ common


def lcao(points: np.ndarray) -> np.ndarray:
    """Evaluate Psi = Phi C on points (G, 3), Bohr."""
    return mol.eval_gto("GTOval", points) @ C


# --- the graph's side: matrix products in torch, which know nothing of quantum chemistry ------------------------------

X = torch.nn.functional.one_hot(species).double()  # (N, element)
W = torch.from_numpy(common).reshape(len(elements), TYPES, n_occupied).transpose(0, 1)  # (type, element, d)


def squared_distances(points: Tensor, centres: Tensor) -> Tensor:
    """Measure from points to centres, (G, N), Bohr^2."""
    return (points[:, None] - centres).square().sum(2)


def edges(points: Tensor, centres: Tensor = positions, kinds: Tensor = species) -> Tensor:
    """Weigh the edges from points to atoms by their length, (type, G, N)."""
    exponent = zeta[kinds].T[:, None]  # (type, 1, N)
    return (2 * exponent / math.pi) ** 0.75 * torch.exp(-exponent * squared_distances(points, centres))


def convolve(adjacency: Tensor, features: Tensor, weights: Tensor) -> Tensor:
    """Apply one linear graph convolution: (type, G, N), (N, element), (type, element, d) -> (G, d)."""
    return sum(a @ (features @ w) for a, w in zip(adjacency, weights, strict=True))


def overlaps(centres: Tensor = positions, kinds: Tensor = species) -> Tensor:
    """Weigh the edges between atoms by their length, (type, type, N, N): the overlaps of their Gaussians."""
    a, b = zeta[kinds].T[:, None, :, None], zeta[kinds].T[None, :, None, :]
    return (2 * (a * b).sqrt() / (a + b)) ** 1.5 * torch.exp(-a * b / (a + b) * squared_distances(centres, centres))


grid = dft.gen_grid.Grids(mol)
grid.level = 1
grid.build()
points, weights = torch.from_numpy(grid.coords), torch.from_numpy(grid.weights)
psi = convolve(edges(points), X, W)
print(f"{atoms.get_chemical_formula()}: {len(atoms)} atoms, {mol.nao} atomic orbitals, {n_occupied} orbitals psi")
print(f"graph of {len(points)} points and {len(atoms)} atoms, {TYPES * len(points) * len(atoms)} edges\n")

print("the same numbers (largest difference)")
with torch.no_grad():
    layer.coefficients.data = W.transpose(0, 1).contiguous()
    r2 = squared_distances(points, positions)
    terms = log_terms(r2.T, torch.zeros(len(points), dtype=torch.float64), layer.softening, math.inf)
    own = (layer.mixing().T @ layer.basis(terms, species)).T
print(
    f"  psi:  PySCF's Phi C       and one linear graph convolution  {np.abs(lcao(grid.coords) - psi.numpy()).max():.1e}"
)
print(f"  psi:  the package's layer and one linear graph convolution  {(own - psi).abs().max():.1e}")
adjacency = overlaps()
stacked = adjacency.permute(2, 0, 3, 1).reshape(mol.nao, mol.nao)  # (atom, type), (atom, type)
print(f"  S:    PySCF's integrals   and a function of distances       {np.abs(S - stacked.numpy()).max():.1e}")
seen = torch.stack([convolve(row, X, W) for row in adjacency], dim=1).reshape(mol.nao, n_occupied)
print(f"  S C:  PySCF's projections and a convolution on the atoms    {np.abs(S @ C - seen.numpy()).max():.1e}")
gram = (psi * weights[:, None]).T @ psi
print(f"  <psi|psi>: C^T S C        and the sum over the points       {np.abs(C.T @ S @ C - gram.numpy()).max():.1e}")

# --- what is poor about it: how much of PBE's orbitals the basis can hold ---------------------------------------------

per_atom, per_element = (np.einsum("pn,pq,qn->n", c, S, c) for c in (free, C))
odd = int(((per_element < 1e-6) & (per_atom > 1e-6)).sum())
print("\nshare of PBE's occupied orbitals that the basis can hold")
print(f"  one coefficient vector for every atom     {per_atom.mean():.2f}; nothing of {(per_atom < 1e-6).sum()} (pi)")
print(f"  one coefficient vector for every element  {per_element.mean():.2f}; nothing of {odd} more (odd)")


# --- what more depth would break --------------------------------------------------------------------------------------


def on_atoms(centres: Tensor, kinds: Tensor) -> Tensor:
    """Give every atom its element's coefficients, (type, N, d)."""
    return torch.nn.functional.one_hot(kinds, len(elements)).double() @ W


def with_neighbours(centres: Tensor, kinds: Tensor) -> Tensor:
    """Add a layer on the atoms, over the adjacency S: coefficients (type, N, d) that know the neighbours."""
    return torch.einsum("tujk,ukd->tjd", overlaps(centres, kinds), on_atoms(centres, kinds))


def combine(coefficients: Tensor, centres: Tensor, kinds: Tensor) -> Tensor:
    """Carry coefficients (type, N, d) from the atoms to the points, (G, d)."""
    return torch.einsum("tgj,tjd->gd", edges(points, centres, kinds), coefficients)


NETWORKS = {
    "one linear layer": lambda *graph: combine(on_atoms(*graph), *graph),
    "two linear layers": lambda *graph: combine(with_neighbours(*graph), *graph),
    "two, tanh between": lambda *graph: combine(with_neighbours(*graph).tanh(), *graph),
    "one, tanh after": lambda *graph: combine(on_atoms(*graph), *graph).tanh(),
}


def laws(network: str) -> tuple[float, float]:
    """Measure how far an output is from any LCAO, and from the sum of the outputs of its atoms alone; relative."""
    output = NETWORKS[network](positions, species)
    alone = sum(NETWORKS[network](positions[[j]], species[[j]]) for j in range(len(atoms)))
    root = weights.abs().sqrt()[:, None]  # some of PySCF's weights are negative
    phi = edges(points).permute(1, 2, 0).flatten(1) * root
    left = output * root - phi @ torch.linalg.lstsq(phi, output * root).solution
    size = (output * root).norm()
    return float(left.norm() / size), float(((output - alone) * root).norm() / size)


broken = {network: laws(network) for network in NETWORKS}
print("\nwhat more depth breaks (relative norms)   outside all LCAO   not a sum over atoms")
for network, (no_lcao, not_additive) in broken.items():
    print(f"  {network:40}{no_lcao:16.1e}{not_additive:23.1e}")
print("A second layer leaves an LCAO, but its coefficients are the molecule's, no longer the elements'. An activation")
print("after the sum leaves no LCAO at all: no overlap matrix can count its electrons any more.")


# --- the picture ------------------------------------------------------------------------------------------------------

COLOURS = {"H": "0.75", "C": "0.25", "N": "tab:blue"}
UNIT = "Bohr$^{-3/2}$"
plane = Plane.through(atoms, margin=1.6)
figure = Figure(figsize=(15, 7.2), layout="constrained")
upper, lower = (part.subplots(1, 4) for part in figure.subfigures(2, 1, hspace=0.03))


def graph_orbital(r: np.ndarray) -> np.ndarray:
    """Evaluate the shown orbital with the graph convolution on points (..., 3), Angstrom."""
    psi = convolve(edges(torch.from_numpy(r.reshape(-1, 3) / Bohr)), X, W[:, :, [SHOWN]])
    return psi.numpy().reshape(r.shape[:-1])


def lcao_orbital(r: np.ndarray) -> np.ndarray:
    """Evaluate it with PySCF."""
    return lcao(r.reshape(-1, 3) / Bohr)[:, SHOWN].reshape(r.shape[:-1])


def pbe_orbital(r: np.ndarray) -> np.ndarray:
    """Evaluate the orbital that it stands for, in def2-SVP."""
    values = reference.mol.eval_gto("GTOval", r.reshape(-1, 3) / Bohr) @ reference.mo_coeff[:, SHOWN]
    return values.reshape(r.shape[:-1])


def draw_graph(axes: Axes) -> None:
    """Draw atoms, their overlaps, and the edges of one point of the field."""
    x, y, _ = plane.coordinates(atoms.positions).T
    valence = adjacency[1, 1].numpy()
    for i, j in zip(*np.triu_indices(len(atoms), 1), strict=True):
        axes.plot(x[[i, j]], y[[i, j]], color="tab:orange", lw=8 * valence[i, j], alpha=0.75, zorder=1)
    place = np.array([1.5, 2.6])
    weight = edges(torch.from_numpy(plane.origin + place @ plane.axes)[None] / Bohr)[0, 0].numpy()
    for j in range(len(atoms)):
        axes.plot([place[0], x[j]], [place[1], y[j]], color="tab:green", lw=5 * weight[j] / weight.max(), zorder=2)
    axes.plot(*place, "*", color="tab:green", ms=16, zorder=3)
    axes.annotate("a point r", place, (-10, 2), textcoords="offset points", ha="right", color="tab:green")
    for symbol, *centre in zip(atoms.symbols, x, y, strict=True):
        axes.plot(*centre, "o", color=COLOURS[symbol], ms=20, mec="k", mew=0.7, zorder=4)
        axes.text(*centre, symbol, ha="center", va="center", color="k" if symbol == "H" else "w", zorder=5)
    axes.set(title="atoms joined by S, a point by A", xlim=plane.frame[:2], ylim=plane.frame[2:])
    axes.set(aspect="equal", xlabel="Å", ylabel="Å")


def draw_difference(axes: Axes) -> None:
    """Draw what differs between both routes: rounding."""
    r = plane.points(0.06)[2]
    difference = np.abs(lcao_orbital(r) - graph_orbital(r)).clip(1e-22)
    norm = LogNorm(1e-20, 1e-14)
    image = axes.imshow(difference, origin="lower", extent=plane.frame, cmap="cividis", norm=norm)
    axes.figure.colorbar(image, ax=axes, label=UNIT, shrink=0.85, extend="both")
    axes.set(title="their difference: rounding", xlabel="Å", ylabel="Å")


def draw_overlaps(axes: Axes) -> None:
    """Draw the adjacency matrix of the graph of atoms."""
    image = axes.imshow(stacked, cmap="Oranges", vmin=0, vmax=1)
    middle = TYPES * np.arange(len(atoms)) + (TYPES - 1) / 2
    axes.set_xticks(middle, atoms.symbols)
    axes.set_yticks(middle, atoms.symbols)
    for edge in TYPES * np.arange(1, len(atoms)) - 0.5:
        axes.axhline(edge, color="w", lw=0.8)
        axes.axvline(edge, color="w", lw=0.8)
    axes.figure.colorbar(image, ax=axes, label="overlap", shrink=0.85)
    axes.set(title="adjacency = overlap matrix S")


def draw_shares(axes: Axes) -> None:
    """Draw how much of every occupied orbital the basis can hold."""
    index = np.arange(n_occupied)
    axes.bar(index - 0.2, per_atom, 0.4, color="0.7", label="a coefficient vector per atom")
    axes.bar(index + 0.2, per_element, 0.4, color="tab:purple", label="a coefficient vector per element")
    for k in index[per_element < 1e-6]:
        axes.text(k + 0.2, 0.02, "odd" if per_atom[k] > 1e-6 else "pi", rotation=90, ha="center", fontsize=8)
    axes.set(title="share of PBE's orbitals that fits", xlabel="occupied orbital, by energy", ylabel="share")
    axes.set(ylim=(0, 1.45), xticks=index[::2])
    axes.legend(frameon=False, loc="upper right", fontsize=9)


def draw_laws(axes: Axes) -> None:
    """Draw what more depth breaks."""
    index = np.arange(len(broken))
    for k, (label, colour) in enumerate({"outside all LCAO": "tab:red", "not a sum over atoms": "tab:cyan"}.items()):
        axes.barh(index + 0.2 * (2 * k - 1), [both[k] for both in broken.values()], 0.4, color=colour, label=label)
    axes.set_yticks(index, list(broken))
    axes.set(
        title="what more depth breaks",
        xlabel="relative norm",
        xscale="log",
        xlim=(1e-17, 30),
        ylim=(len(broken) - 0.5, -1.3),
    )
    axes.legend(frameon=False, loc="upper right", fontsize=9)


draw_graph(upper[0])
plot_signed(lcao_orbital, atoms, plane, axes=upper[1], label=UNIT)
plot_signed(graph_orbital, atoms, plane, axes=upper[2], label=UNIT)
draw_difference(upper[3])
draw_overlaps(lower[0])
plot_signed(pbe_orbital, atoms, plane, axes=lower[1], label=UNIT)
draw_shares(lower[2])
draw_laws(lower[3])
upper[1].set(title=f"orbital {SHOWN} by PySCF, LCAO", xlabel="Å", ylabel="Å")
upper[2].set(title="by a graph convolution", xlabel="Å", ylabel="Å")
lower[1].set(title="PBE/def2-SVP's", xlabel="Å", ylabel="Å")
figure.savefig("lcao_is_a_gcn.png", dpi=100)
print("\nlcao_is_a_gcn.png written")
