"""``mlwave train`` from settings to a model folder; the laws of training itself are tests of ``phisnet/training``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ase.build import molecule
from ase.calculators.calculator import InputError
from ase.io import write
from pyscf.scf import hf
from typer.testing import CliRunner

from ase_mlwave import PhiSNetCalculator
from ase_mlwave.cli.main import app
from ase_mlwave.data.convert import atoms_from_record
from ase_mlwave.data.database import read_database
from ase_mlwave.models.folder import ModelFolder, read_config
from ase_mlwave.models.training import loop
from ase_mlwave.plotting.training import draw_learning_curve

ROOT = Path(__file__).parents[2]
LABELLED = ROOT / "tests" / "data" / "files" / "waters_pbe_def2svp.db"

SETTINGS = """
data: {data}
output: {output}
model: {{elements: [H, O], features: 4, n_modules: 1, n_radial: 4, hidden: 8}}
loss: {{hamiltonian: 1.0}}
optimiser: {{warmup_steps: 1, ema_decay: 0.5}}
steps: 4
batch_size: 2
steps_per_epoch: 2
checkpoint_minutes: 0
accelerator: cpu
"""


pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(autouse=True)
def _wide_and_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr(hf, "MUTE_CHKFILE", True)


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    path = tmp_path / "settings.yaml"
    path.write_text(SETTINGS.format(data=LABELLED, output=tmp_path / "run"), encoding="utf-8")
    return path


def _invoke(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["train", *map(str, arguments)])
    return result.exit_code, result.output


def _steps(folder: Path) -> int:
    return int(json.loads((folder / "settings.json").read_text())["steps"])


def test_run_ends_in_a_model_that_the_calculator_loads(
    settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "draw_learning_curve", draw_learning_curve)
    code, output = _invoke(settings, "--no-progress")
    assert code == 0, output
    assert f"model written to {tmp_path / 'run' / 'model'}" in output
    assert (tmp_path / "run" / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "run" / "metrics" / "metrics.csv").is_file()
    folder = ModelFolder.load(tmp_path / "run" / "model")
    assert folder.config.level == "pbe/def2-svp"
    assert folder.config.training_data.n_records == 4
    assert folder.config.thresholds["domain_distance"] > 0
    assert PhiSNetCalculator(tmp_path / "run" / "model").hamiltonian(molecule("H2O")).shape == (24, 24)


def test_run_goes_on_with_resume_only(settings: Path, tmp_path: Path) -> None:
    assert _invoke(settings, "steps=2", "--no-progress")[0] == 0
    code, output = _invoke(settings, "--no-progress")
    assert (code, "holds a training run already; give --resume" in output) == (2, True), output
    assert _steps(tmp_path / "run") == 2
    before = ModelFolder.load(tmp_path / "run" / "model").config.weights_sha256
    code, output = _invoke(settings, "--resume", "--no-progress")
    assert code == 0, output
    assert _steps(tmp_path / "run") == 4
    assert ModelFolder.load(tmp_path / "run" / "model").config.weights_sha256 != before


def test_resume_without_a_run_starts_one(settings: Path, tmp_path: Path) -> None:
    code, output = _invoke(settings, "steps=1", "--resume", "--no-progress")
    assert code == 0, output
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()


def test_run_can_start_from_a_model(settings: Path, tmp_path: Path) -> None:
    """Transfer: the weights of one level of theory or loss are where the next run begins."""
    assert _invoke(settings, "steps=1", "--no-progress")[0] == 0
    first = tmp_path / "run" / "model"
    words = (f"output={tmp_path / 'next'}", "steps=1", "loss.energy=0.1", "loss.forces=0.1")
    code, output = _invoke(settings, f"start_from={first}", *words, "--no-progress")
    assert code == 0, output
    assert (tmp_path / "next" / "model" / "config.json").is_file()
    code, output = _invoke(settings, f"start_from={first}", "model.features=6", f"output={tmp_path / 'third'}")
    assert (code, "has other model settings: features" in output) == (2, True), output


def test_without_settings_of_its_own_a_network_is_that_of_the_model_it_starts_from(
    settings: Path, tmp_path: Path
) -> None:
    assert _invoke(settings, "steps=1", "--no-progress")[0] == 0
    first, short = tmp_path / "run" / "model", tmp_path / "short.yaml"
    lines = settings.read_text(encoding="utf-8").splitlines()
    short.write_text("\n".join(line for line in lines if not line.startswith("model")), encoding="utf-8")
    words = (f"output={tmp_path / 'next'}", "steps=1", "--no-progress")
    code, output = _invoke(short, f"start_from={first}", *words)
    assert code == 0, output
    assert read_config(tmp_path / "next" / "model").settings == read_config(first).settings
    code, output = _invoke(short, "start_from=qdf-chno", *words)
    assert (code, "start_from='qdf-chno' is not a PhiSNet" in output) == (2, True), output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["stesp=10"], "there is no setting 'stesp'. Did you mean 'steps'?"),
        (["optimiser.learning_rat=1"], "there is no setting 'optimiser.learning_rat'. Did you mean 'learning_rate'?"),
        (["model.feature=8"], "there is no setting 'model.feature'. Did you mean 'features'?"),
        (["model.elements=[H,Q]"], "elements must be distinct chemical symbols"),
        (["model.elements=[H]"], 'the data have O, which model.elements lacks; write "model.elements=[H,O]"'),
        (["model.level=hf/def2-svp"], "but model.level is 'hf/def2-svp'; write \"model.level=pbe/def2-svp grid_"),
        (["model.preset=papre"], "there is no preset 'papre'. Did you mean 'paper'?"),
        (["steps=0"], "steps: Input should be greater than or equal to 1 (given: 0)"),
        (["steps=many"], "steps: Input should be a valid integer"),
        (["optimiser.learning_rate=-1"], "optimiser.learning_rate: Input should be greater than 0"),
        (["loss.hamiltonian=0"], "all loss weights are zero: nothing to learn"),
        (["compile=true", "loss.forces=1"], "compile=true has no second derivatives"),
        (["precision=float16"], "precision: Input should be 'float32', 'float64' or 'bf16-mixed'"),
        (["optimiser.schedule=lineal"], "optimiser.schedule: Input should be 'linear', 'cosine' or 'constant'"),
        (["steps"], "'steps' is not a setting; write key=value"),
        (["train_split=trian"], "no split 'trian': it has 'train'"),
        (["data=absent.db"], "there is no data file absent.db"),
        (["model.max_unnatural_order=0"], "which max_order=4 and max_unnatural_order=0 leave out; raise them"),
        (["start_from=phisnet-watre"], "Did you mean 'phisnet-water'"),
    ],
)
def test_wrong_setting_is_refused_in_one_line(settings: Path, tmp_path: Path, words: list[str], message: str) -> None:
    code, output = _invoke(settings, *words, "--no-progress")
    assert code == 2, output
    *read, error = output.splitlines()
    assert error.startswith("error: ")
    assert message in error
    assert all(" structures, " in line for line in read)  # what was read, where it was
    assert len(read) <= 1
    assert not (tmp_path / "run").exists()


def test_wrong_file_is_refused_in_one_line(settings: Path, tmp_path: Path) -> None:
    (tmp_path / "list.yaml").write_text("- 1\n- 2\n")
    (tmp_path / "broken.yaml").write_text("steps: [1\n")
    (tmp_path / "short.yaml").write_text("steps: 1\n")
    write(tmp_path / "bare.xyz", molecule("H2O"))
    for arguments, message in (
        ((tmp_path / "absent.yaml",), "there is no settings file"),
        ((tmp_path / "list.yaml",), "must hold a mapping of settings"),
        ((tmp_path / "broken.yaml",), "cannot be read as settings"),
        ((tmp_path / "short.yaml",), "the setting 'data' is missing; the setting 'output' is missing"),
        ((settings, f"data={tmp_path / 'bare.xyz'}"), "has no split 'train'"),
    ):
        code, output = _invoke(*arguments)
        assert code == 2, output
        assert message in output
        assert sum("structures" not in line for line in output.splitlines()) == 1  # beside what was read


def test_energies_alone_refine_a_model_of_another_level(settings: Path, tmp_path: Path) -> None:
    """The paper's transfer: matrices of one method, then energies and forces of one that has no such matrix."""
    assert _invoke(settings, "steps=1", "--no-progress")[0] == 0
    frames = []
    for record in read_database(LABELLED):
        atoms = atoms_from_record(record)
        atoms.info["level"] = "mp2/def2-svp"
        frames.append(atoms)
    write(tmp_path / "better.xyz", frames, format="extxyz")
    words = (f"data={tmp_path / 'better.xyz'}", "model.level=mp2/def2-svp", f"output={tmp_path / 'better'}")
    weights = ("loss.hamiltonian=0", "loss.energy=1", "loss.forces=1", f"start_from={tmp_path / 'run' / 'model'}")
    code, output = _invoke(settings, *words, *weights, "steps=3", "--no-progress")
    assert code == 0, output
    calc = PhiSNetCalculator(tmp_path / "better" / "model")
    assert calc.members[0].config.level == "mp2/def2-svp"
    errors = [abs(calc.predict([atoms])[0]["energy"] - atoms.get_potential_energy()) for atoms in frames]
    assert max(errors) < 20
    with pytest.raises(InputError, match="mp2"):
        PhiSNetCalculator(tmp_path / "better" / "model", energy="functional").get_potential_energy(molecule("H2O"))


@pytest.mark.parametrize("kind", ["phisnet", "qdf", "amons"])
def test_data_are_described_and_their_electrons_counted_before_any_work(tmp_path: Path, kind: str) -> None:
    frames = [molecule("H2O", info={"split": name, "energy_of_mine": -76.0}) for name in ("train", "valid")]
    radical = molecule("OH", info={"split": "train", "energy_of_mine": -75.0})
    radical.set_initial_magnetic_moments(None)
    write(tmp_path / "data.extxyz", [*frames, radical], format="extxyz")
    model = "{elements: [H, O], level: pbe/def2-svp}"
    text = f"kind: {kind}\ndata: {tmp_path}/data.extxyz\noutput: {tmp_path}/run\nmodel: {model}\n"
    (tmp_path / "settings.yaml").write_text(text + "energy_key: energy_of_mine\nunits: Hartree\n")
    code, output = _invoke(tmp_path / "settings.yaml")
    assert code == 2
    line, error = output.splitlines()
    assert "3 structures, 3 energies, 0 forces, 0 matrices; splits train 2, valid 1; level not named" in line
    assert "structure 2: HO with charge 0 has 9 electrons, which cannot leave 0 unpaired" in error
    radical.info["total_charge"] = -1
    write(tmp_path / "data.extxyz", [*frames, radical], format="extxyz")
    code, output = _invoke(tmp_path / "settings.yaml")
    assert code == 2
    assert "molecules with the charges -1, 0; models do not see the charge" in output
    assert not (tmp_path / "run").exists()
