"""The harness that compares models outside the sizes they learned: its splits, budgets, rival, results and refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.calculators.calculator import InputError

from ase_mlwave.data.record import Dataset, Record
from ase_mlwave.data.writers import write_dataset
from benchmarks.extrapolation.__main__ import main
from benchmarks.extrapolation.models import Job, check_settings, fit, run_settings, steps_within
from benchmarks.extrapolation.report import by_size, obtain
from benchmarks.extrapolation.schnet import Scales, SchNetSettings, predict, train
from benchmarks.extrapolation.split import SizeSplit, atom_references, divide, energies

#: Energies of the atoms of the made-up molecules, Hartree.
ATOMS = {1: -0.1, 6: -0.3}


def chain(size: int, seed: int) -> Record:
    """Make a zigzag of carbons and an even number of hydrogens: a sum over atoms and over neighbours' distances."""
    generator, hydrogens = np.random.default_rng([size, seed]), 2 * (size // 4)
    numbers = generator.permutation([6] * (size - hydrogens) + [1] * hydrogens)
    zigzag = np.array([[2.2 * i, 1.0 * (i % 2), 0.0] for i in range(size)])
    positions = zigzag + generator.normal(scale=0.1, size=(size, 3))
    bonds = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    energy = sum(ATOMS[z] for z in numbers.tolist()) + 0.05 * (bonds - 2.4).sum()
    return Record(numbers, positions, energy=energy)


def ignore(n_done: int) -> None:
    """Take the place of a progress bar."""


def chains(sizes: range = range(4, 9), each: int = 20) -> Dataset:
    return Dataset(tuple(chain(n, k) for n in sizes for k in range(each)), "pbe/def2-svp", "folder/chains.extxyz")


@pytest.fixture
def split() -> SizeSplit:
    return divide(chains(), 6, n_train=40)


def job(split: SizeSplit, folder: Path, **changes: Any) -> Job:
    return replace(Job(split, budget=0.3, seed=0, folder=folder, progress=False), **changes)


# --- splits -----------------------------------------------------------------------------------------------------------


def test_parts_are_disjoint_and_sorted_by_size() -> None:
    doubled = chains()
    split = divide(replace(doubled, records=doubled.records * 2), 6)
    parts = [{r.geometry_hash() for r in part} for part in (split.train, split.valid, split.test, split.large)]
    assert sum(map(len, parts)) == len(set().union(*parts)) == len(doubled)
    assert max(len(r) for r in (*split.train, *split.valid, *split.test)) == split.bound == 6
    assert [len(r) for r in split.large] == [7] * 20 + [8] * 20


def test_held_out_molecules_do_not_depend_on_the_number_of_training_molecules() -> None:
    data = chains()
    few, many = (divide(data, 6, seed=3, n_train=n) for n in (10, 50))
    assert len(few.train) == 10
    assert few.train == many.train[:10]
    assert (few.test, few.large) == (many.test, many.large)
    assert divide(data, 6, seed=4).test != few.test


def test_default_bound_is_the_published_one_or_leaves_two_sizes() -> None:
    assert divide(chains(range(12, 17))).bound == 14
    assert divide(chains(range(4, 9))).bound == 6


def test_molecules_with_unlearned_elements_are_left_out_and_counted() -> None:
    odd = Record([6, 1, 1, 1, 1, 1, 9], np.arange(21.0).reshape(7, 3), energy=-1.0)
    data = chains()
    split = divide(replace(data, records=(*data.records, odd)), 6)
    assert (split.left_out, split.elements) == (1, ("H", "C"))
    assert len(split.large) == 40


def test_at_most_so_many_of_each_larger_size() -> None:
    assert [len(r) for r in divide(chains(), 6, n_per_size=2).large] == [7, 7, 8, 8]


@pytest.mark.parametrize(("bound", "n_train"), [(8, None), (3, None), (6, 1000)])
def test_too_few_molecules_are_refused(bound: int, n_train: int | None) -> None:
    with pytest.raises(ValueError, match=r"molecules of 4 to 8 atoms.*change --bound or --molecules"):
        divide(chains(), bound, n_train=n_train)


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        (Record([1, 1], [[0, 0, 0], [0, 0, 1.4]]), "has 1 molecules without an energy"),
        (
            Record([1, 1], [[0, 0, 0], [0, 0, 1.4]], energy=-1.0, charge=2),
            "with a charge or unpaired electrons, such as H2",
        ),
        (Record([1], [[0, 0, 0]], energy=-0.5), "with a charge or unpaired electrons, such as H;"),
    ],
)
def test_molecules_that_models_cannot_take_are_refused(odd: Record, message: str) -> None:
    data = chains()
    with pytest.raises(ValueError, match=message):
        divide(replace(data, records=(*data.records, odd)), 6)


# --- budgets ----------------------------------------------------------------------------------------------------------


def test_steps_fill_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 0.0

    def run(steps: int) -> None:
        nonlocal clock
        clock += 3.0 + 0.25 * steps

    monkeypatch.setattr("time.process_time", lambda: clock)
    assert steps_within(1003.0, run) == 4000
    assert steps_within(1.0, run) == 1


# --- models -----------------------------------------------------------------------------------------------------------


def test_references_of_atoms_are_recovered() -> None:
    records = [Record(r.numbers, r.positions, energy=sum(ATOMS[z] for z in r.numbers.tolist())) for r in chains()]
    np.testing.assert_allclose(atom_references(records, (1, 6)), [-0.1, -0.3], atol=1e-12)


def test_schnet_learns_and_predicts_alike_alone_and_in_a_batch(split: SizeSplit, tmp_path: Path) -> None:
    pytest.importorskip("torch_geometric", exc_type=ImportError)
    settings = SchNetSettings(features=16, interactions=2, cutoff=4.0, learning_rate=5e-3)
    scales = Scales.of(split.train)
    network = train(job(split, tmp_path), settings, scales, 150, lambda: None)
    fitted = predict(network, scales, split.test, ignore)
    alone = np.concatenate([predict(network, scales, [record], ignore) for record in split.test])
    np.testing.assert_allclose(fitted, alone, atol=1e-6)
    truth = energies(split.test)
    assert np.abs(fitted - truth).mean() < 0.5 * np.abs(scales.atoms(split.test) - truth).mean()


def test_ablation_changes_the_potential_term_alone(split: SizeSplit, tmp_path: Path) -> None:
    with_term, without = (
        run_settings(job(split, tmp_path), tmp_path, tmp_path, 2000, hohenberg_kohn=kept) for kept in (True, False)
    )
    assert with_term.loss.potential > 0 == without.loss.potential
    assert with_term.loss.forces == 0
    changed = without.loss.model_copy(update={"potential": with_term.loss.potential})
    assert without.model_copy(update={"loss": changed}) == with_term


def test_settings_of_the_user_reach_the_training_and_those_of_the_benchmark_do_not(
    split: SizeSplit, tmp_path: Path
) -> None:
    given = {"batch_size": 5, "optimiser": {"learning_rate": 0.5}, "model": {"dimension": 7}}
    settings = run_settings(job(split, tmp_path, settings=given), tmp_path, tmp_path, 10, hohenberg_kohn=True)
    assert (settings.batch_size, settings.optimiser.learning_rate, settings.model.dimension) == (5, 0.5, 7)
    with pytest.raises(InputError, match=r"chooses steps, model\.level, loss\.forces: leave it out"):
        check_settings({"steps": 3, "model": {"level": "b3lyp"}, "loss": {"forces": 1.0}})
    with pytest.raises(InputError, match="batch_sice"):
        check_settings({"batch_sice": 3})


# --- results ----------------------------------------------------------------------------------------------------------


def test_errors_by_size_are_means_with_standard_errors() -> None:
    records = [chain(4, 0), chain(5, 0), chain(4, 1)]
    four, five = by_size(records, [1.0, -5.0, -3.0])
    assert (four.n_atoms, four.n_molecules, four.error) == (4, 2, 2.0)
    assert four.uncertainty == pytest.approx(1.0)  # sqrt(2) / sqrt(2)
    assert (five.error, np.isnan(five.uncertainty)) == (5.0, True)


def test_finished_results_are_read_and_others_refused(split: SizeSplit, tmp_path: Path) -> None:
    path = tmp_path / "atoms" / "result.json"
    first, read = obtain("atoms", job(split, tmp_path), path)
    assert not read
    truth, fitted = energies(split.large), fit("atoms", job(split, tmp_path))
    in_hartree = fitted.predict(split.large, ignore) - truth
    np.testing.assert_allclose(first.large, in_hartree * 627.5094740631, rtol=1e-6)  # kcal/mol by CODATA 2018
    assert obtain("atoms", job(split, tmp_path), path) == (first, True)
    with pytest.raises(InputError, match="made with another bound, large, test, train, valid; remove it"):
        obtain("atoms", job(divide(chains(), 5), tmp_path), path)
    path.write_text("{}")
    with pytest.raises(InputError, match="is not a result of this benchmark"):
        obtain("atoms", job(split, tmp_path), path)


def run(data: Path, output: Path, *words: str) -> None:
    main([str(data), "--output", str(output), "--no-progress", *words])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_dataset(tmp_path / "chains.extxyz", chains())
    return tmp_path / "chains.extxyz"


@pytest.mark.slow
def test_whole_benchmark_from_the_command_line(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch_geometric", exc_type=ImportError)
    yaml = tmp_path / "settings.yaml"
    yaml.write_text("model: {dimension: 8, potential_width: 4, grid_level: 0}\ngrid_level: 0\nbatch_size: 4\n")
    words = ("--budget", "2", "--bound", "6", "--qdf-settings", str(yaml))
    run(file, tmp_path / "out", *words)
    names = [json.loads(path.read_text())["model"] for path in (tmp_path / "out" / "chains").glob("*/result.json")]
    assert sorted(names) == ["atoms", "qdf", "qdf-no-potential", "schnet"]
    assert (tmp_path / "out" / "chains" / "qdf" / "run" / "model" / "config.json").is_file()
    assert (tmp_path / "out" / "extrapolation.png").stat().st_size > 10_000
    before = (tmp_path / "out" / "extrapolation.md").read_text()
    monkeypatch.setattr("benchmarks.extrapolation.report.fit", None)  # nothing may be trained again
    capsys.readouterr()
    run(file, tmp_path / "out", *words)
    assert (tmp_path / "out" / "extrapolation.md").read_text() == before
    assert capsys.readouterr().out.count("read from") == 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--models", "qdf", "schnett"), "the models are qdf, qdf-no-potential, schnet, atoms"),
        (("--bound", "8"), "change --bound or --molecules"),
        (("--qdf-settings", "none.yaml"), "there is no settings file 'none.yaml'"),
        (("more/chains.extxyz",), "data files need different names"),
    ],
)
def test_wrong_options_are_refused_before_any_work(
    file: Path, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    with pytest.raises(SystemExit, match=message):
        main(["--models", "atoms", "--output", str(tmp_path / "out"), "--no-progress", str(file), *words])
    assert not (tmp_path / "out").exists()


def test_missing_library_is_named(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.extrapolation.models.find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"pip install 'ase-mlwave\[benchmarks\]', or leave it out with --models qdf"):
        run(file, tmp_path / "out")
