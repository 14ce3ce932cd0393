from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pyscf.scf import hf

from ase_mlwave.data.record import Record
from ase_mlwave.reference.levels import TbliteLevel
from tests.calculators.morse import morse_folder


@pytest.fixture(autouse=True)
def _no_checkpoint_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """PySCF opens a temporary file per mean field and leaves closing it to the garbage collector."""
    monkeypatch.setattr(hf, "MUTE_CHKFILE", True)


@pytest.fixture
def morse_model(morse_kind: None, tmp_path: Path) -> str:
    return str(morse_folder().save(tmp_path / "morse"))


@pytest.fixture
def broken_model(tmp_path: Path) -> str:
    """Copy the shipped model with weights so large that its matrices overflow."""
    import torch

    from ase_mlwave.models.folder import ModelFolder
    from tests.calculators.waters import MODEL

    folder = ModelFolder.load(MODEL)
    network = folder.build("cpu", torch.float64)
    for parameter in network.parameters():
        parameter.data *= 1e120
    config = folder.config
    packed = ModelFolder.pack(config.kind, network, training_data=config.training_data, card=folder.card)
    return str(replace(packed, card=folder.card).save(tmp_path / "broken"))


@pytest.fixture
def labelled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note every molecule that tblite labels."""
    seen: list[str] = []
    label = TbliteLevel.label

    def noting(self: TbliteLevel, molecule: Record) -> Record:
        seen.append(str(molecule.info.get("smiles", "")))
        return label(self, molecule)

    monkeypatch.setattr(TbliteLevel, "label", noting)
    return seen
