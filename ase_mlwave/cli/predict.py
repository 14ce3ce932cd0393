"""``mlwave predict``: energies, forces and more for a file of structures."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ase import Atoms

    from ase_mlwave.calculators.base import MlwaveCalculator
    from ase_mlwave.calculators.outcome import Outcome
    from ase_mlwave.console import Console

#: Results that are written, where the model has them, unless others are asked for.
_DEFAULT = ("energy", "forces", "dipole", "charges")
#: What a committee adds whatever is asked for.
_SPREADS = ("energy_spread", "forces_spread")


def predict(
    model: Annotated[str, typer.Argument(help="A name in the zoo or a folder; several joined by commas: a committee.")],
    structures: Annotated[Path, typer.Argument(help="Structures in any format that ASE reads.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Extended XYZ to write.", show_default="beside the input")
    ] = None,
    properties: Annotated[
        str | None,
        typer.Option(help="Results and extras to write, joined by commas.", show_default="see below"),
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Option of the calculator: energy=scf.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, ...", show_default="CUDA where there is a device")
    ] = None,
    dtype: Annotated[str, typer.Option(help="Precision of the network: float64 or float32.")] = "float64",
    batch_size: Annotated[int | None, typer.Option(help="Structures at a time.", show_default="what fits")] = None,
) -> None:
    """Predict properties of the structures in a file and write them as extended XYZ.

    Without --properties: energy, forces, dipole, charges and all extras that are one number for the structure or for
    each atom (homo, lumo, gap, domain_distance, ...), of these what the model has; docs/properties.md lists them with
    their units. Matrices are for Python: calc.hamiltonian(atoms), calc.density_matrix(atoms).

    The energies of a PhiSNet are of the level that its measured errors support, which may be a converged SCF;
    --set energy=functional takes less time, --set energy=wavefunction next to none (`mlwave models MODEL` has errors).

    A committee writes its spreads in any case: energy_spread (eV), forces_spread (eV/Angstrom, of each atom).
    Structures unlike the training data are marked out_of_domain=doubtful; those unlike anything in it
    out_of_domain=refused, and they have no results unless you add --set outside=warn.

    After Ctrl-C, or a structure whose calculation fails, those before it are in OUTPUT.partial.extxyz.
    """
    from ase.calculators.calculator import InputError

    from ase_mlwave.calculators import load_calculator
    from ase_mlwave.cli._reading import print_line
    from ase_mlwave.console import Console, progress_bar
    from ase_mlwave.data.extxyz import check_extxyz, write_extxyz
    from ase_mlwave.data.summary import summary_of_structures
    from ase_mlwave.errors import OutOfDomainWarning
    from ase_mlwave.models.files import check_place

    images = _read(structures)
    target = structures.with_suffix(".predicted.extxyz") if output is None else output
    if target.resolve() == structures.resolve():
        raise InputError(f"the output would overwrite the input, {structures}. Give another file with -o.")
    if target.suffix not in (".extxyz", ".xyz"):
        raise InputError(f"the output {target} would be extended XYZ: let its name end in .extxyz or .xyz.")
    console = Console(stderr=True)
    print_line(console, summary_of_structures(images, str(structures)))
    names = [name.strip() for name in model.split(",")] if "," in model else model
    calculator = load_calculator(names, device=device, dtype=dtype, batch_size=batch_size, **_options(option or []))
    results, extras = _wanted(calculator, properties)
    try:
        check_extxyz(images, results)
    except ValueError as error:
        raise InputError(f"{structures}, {error}") from None
    check_place(target.parent)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir():
        raise InputError(f"{target} is a folder. Give another file with -o.")
    start = time.perf_counter()
    outcomes: list[Outcome] = []

    def save(path: Path) -> list[str]:
        states = [_state(outcome, refuse=calculator.parameters["outside"] == "error") for outcome in outcomes]
        rows = zip(images, outcomes, states, strict=False)  # the images that follow have no outcome
        write_extxyz(path, [_labelled(atoms, outcome, results, extras, state) for atoms, outcome, state in rows])
        return states

    try:
        with progress_bar(console) as bar, warnings.catch_warnings():
            task = bar.add_task("predicting", total=len(images))
            warnings.simplefilter("ignore", OutOfDomainWarning)  # the structures are marked instead
            calculator.predict_outcomes(
                images,
                results or [_least(calculator)],
                progress=lambda done: bar.advance(task, done),
                outside="warn",
                collect=outcomes.append,
            )
    except (Exception, KeyboardInterrupt):
        if outcomes:
            partial = target.with_suffix(".partial.extxyz")
            save(partial)
            text = f"the first {len(outcomes)} of {len(images)} structures -> {partial}"
            console.print(text, style="yellow", soft_wrap=True, highlight=False)
        raise
    seconds = time.perf_counter() - start
    states = save(target)
    level = f", energy={calculator.option('energy')!r}" if "energy" in calculator.parameters else ""
    if properties is not None:
        _report_absent(extras, outcomes, console)
    console.print(f"{len(images)} structures -> {target} ({seconds:.2f} s{level})", soft_wrap=True, highlight=False)
    _report_outside(states, console)


def _wanted(calculator: MlwaveCalculator, properties: str | None) -> tuple[list[str], list[str]]:
    """Return the names of results and of extras to write, which ``properties`` names, or what a model may have."""
    from ase.calculators.calculator import InputError, PropertyNotImplementedError

    from ase_mlwave.errors import suggestion
    from ase_mlwave.properties import EXTRAS, MATRICES

    known = calculator.implemented_properties
    if properties is None:
        return [name for name in _DEFAULT if name in known], [name for name in EXTRAS if _place(name)]
    names = list(dict.fromkeys(name.strip() for name in properties.split(",") if name.strip()))
    if not names:
        raise InputError("--properties names nothing. Write for example energy,forces,gap, or leave it out.")
    for name in names:
        if name not in known and name not in EXTRAS:
            hint = suggestion(name, {*known, *filter(_place, EXTRAS)})
            raise PropertyNotImplementedError(f"{type(calculator).__name__} has no {name!r}. {hint}")
        if name in EXTRAS and not (_place(name) or name == "orbital_energies"):
            way = f"calc.{name}(atoms)" if name in MATRICES else f"calc.extras[{name!r}]"
            raise InputError(f"extended XYZ has no place for {name}; take {way} in Python.")
    return [name for name in names if name in known], [name for name in names if name in EXTRAS]


def _place(name: str) -> str:
    """Say where an extra of any model is written: ``"info"``, ``"arrays"``, or nowhere, an empty string."""
    from ase_mlwave.properties import EXTRAS

    shape = EXTRAS[name].shape
    return "" if shape is None or "M" in shape else "arrays" if shape else "info"


def _least(calculator: MlwaveCalculator) -> str:
    """Name what to compute where only extras are wanted: charges cost nothing at any level but that of the SCF."""
    return "charges" if "charges" in calculator.implemented_properties else "energy"


def _read(path: Path) -> list[Atoms]:
    """Read all structures; whatever a reader stumbles over becomes one kind of error."""
    from ase.calculators.calculator import InputError
    from ase.io import read

    from ase_mlwave.data.database import structures_in
    from ase_mlwave.errors import reading_fault

    if not path.is_file():
        raise InputError(f"{path} is a folder; give a file." if path.is_dir() else f"there is no file {path}.")
    try:
        images = structures_in(path) if path.suffix == ".db" else list(read(path, ":"))
    except Exception as error:
        raise InputError(f"cannot read structures from {path}: {reading_fault(error)}.") from error
    if not images:
        raise InputError(f"{path} holds no structure.")
    return images


def _options(pairs: list[str]) -> dict[str, Any]:
    """Parse NAME=VALUE: a value that is JSON (a number, true, null) is taken as such, anything else as text."""
    import json

    from ase.calculators.calculator import InputError

    options: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise InputError(f"--set needs NAME=VALUE, got {pair!r}.")
        try:
            options[name] = json.loads(value)
        except ValueError:
            options[name] = value
    return options


def _state(outcome: Outcome, *, refuse: bool) -> str:
    """Say in a word how far outside the model's domain a structure is; nothing where it is inside."""
    verdict = outcome.verdict
    if verdict is None or verdict.inside:
        return ""
    return "refused" if verdict.refused and refuse else "doubtful"


def _report_absent(extras: Sequence[str], outcomes: Sequence[Outcome], console: Console) -> None:
    """Say which of the extras that were asked for the model, or its level of energy, does not have."""
    absent = [name for name in extras if not any(name in outcome.extras for outcome in outcomes)]
    if outcomes and absent:
        text = f"warning: the model gave no {', '.join(absent)}"
        console.print(text, style="yellow", soft_wrap=True, highlight=False)


def _report_outside(states: Sequence[str], console: Console) -> None:
    """Say how many structures are outside the domain; end with an error where some have no results."""
    doubtful = states.count("doubtful")
    refused = [index for index, state in enumerate(states) if state == "refused"]
    if doubtful:
        text = f"warning: {doubtful} of {len(states)} structures are unlike the training data (out_of_domain=doubtful)"
        console.print(text, style="yellow", soft_wrap=True, highlight=False)
    if refused:
        listed = ", ".join(map(str, refused[:10])) + (", ..." if len(refused) > 10 else "")
        text = (
            f"error: {len(refused)} of {len(states)} structures ({listed}) are unlike anything that the model was "
            "trained on and have no results (out_of_domain=refused); --set outside=warn gives them all the same"
        )
        console.print(text, style="bold red", soft_wrap=True, highlight=False)
        raise typer.Exit(1)


def _labelled(atoms: Atoms, outcome: Outcome, results: list[str], extras: list[str], state: str) -> Atoms:
    """Return a copy that carries what was predicted in place of what it had; of a refused one, how unlike it is."""
    from ase.calculators.singlepoint import SinglePointCalculator

    from ase_mlwave.properties import EXTRAS

    copy: Atoms = atoms.copy()
    for name in (*EXTRAS, "out_of_domain"):
        copy.info.pop(name, None)
        copy.arrays.pop(name, None)
    refused = state == "refused"
    for name in (*extras, *(spread for spread in _SPREADS if spread not in extras)):
        if outcome.extras.get(name) is not None and (name == "domain_distance" or not refused):
            place = copy.arrays if _place(name) == "arrays" else copy.info
            place[name] = outcome.extras[name]
    if state:
        copy.info["out_of_domain"] = state
    values = {} if refused else {name: outcome.values[name] for name in results}
    copy.calc = SinglePointCalculator(copy, **values) if values else None
    return copy
