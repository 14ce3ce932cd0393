"""Make the old files of ``files/``: ``python -m tests.golden.make_files``. Not to be run again by newer code."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from tests.golden.figures import FILES, KINDS, label, train


def make() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(label(folder, 6, "--split", "train=0.67,valid=0.33"), FILES / "waters.db")
        for kind in KINDS:
            run = train(kind, folder)
            shutil.copytree(run / "model", FILES / "models" / kind, dirs_exist_ok=True)
        for kind in ("phisnet", "qdf"):
            part = folder / "part"
            run = train(kind, part, "steps=2")
            kept = folder / f"{kind}-kept"
            shutil.copytree(run / "checkpoints", kept / "checkpoints")
            (kept / "checkpoints" / "readout.safetensors").unlink(missing_ok=True)
            shutil.copytree(run / "metrics", kept / "metrics")
            shutil.make_archive(str(FILES / f"{kind}-run"), "zip", kept)
        old = FILES / "models" / "phisnet-format-1"
        shutil.copytree(FILES / "models" / "phisnet", old, dirs_exist_ok=True)
        config = json.loads((old / "config.json").read_text(encoding="utf-8"))
        config = {key: value for key, value in config.items() if key not in ("checksum", "limits", "defaults")}
        (old / "config.json").write_text(json.dumps({**config, "format": 1}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    make()
