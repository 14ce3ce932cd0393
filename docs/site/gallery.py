"""Draw the gallery anew: run the examples whose pictures it shows, and keep these small (``make gallery``, minutes)."""

from __future__ import annotations

import argparse
import runpy
import sys
import tempfile
from contextlib import chdir
from pathlib import Path
from unittest.mock import patch

from PIL import Image

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "gallery"

#: Widest picture, pixels.
WIDTH = 1400


def draw(name: str) -> None:
    """Run an example in an empty folder, and keep its picture."""
    script = ROOT / "examples" / f"{name}.py"
    with tempfile.TemporaryDirectory() as folder, chdir(folder), patch.object(sys, "argv", [str(script)]):
        runpy.run_path(str(script), run_name="__main__")
        with Image.open(f"{name}.png") as drawn:
            picture = drawn.convert("RGB")
    picture.thumbnail((WIDTH, WIDTH), Image.Resampling.LANCZOS)
    picture.save(FOLDER / f"{name}.png", optimize=True)


if __name__ == "__main__":
    shown = sorted(path.stem for path in FOLDER.glob("*.png"))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=shown, help=f"examples; by default those shown: {', '.join(shown)}")
    for one in parser.parse_args().names:
        draw(one)
