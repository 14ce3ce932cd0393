"""Strings and files that would leave a marker if anything in them were executed, parsed as data, or opened."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

__all__ = ["Touch", "hostile_strings"]


class Touch:
    """Pickles to a call that makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def hostile_strings(folder: Path, marker: Path) -> dict[str, str]:
    """Name -> string for a place where the name of a basis, a functional or a level is expected."""
    call = f"__import__('pathlib').Path({str(marker)!r}).touch()"
    numbers = f"({call},1.0,1.0)[1:]"
    data = f"H S\n{numbers}\nO S\n{numbers}\nC S\n{numbers}\n"
    file = folder / "evil.nw"
    file.write_text(data)
    evaluated = {
        "data": data,
        "data with a header": f"BASIS\n{data}",
        "data after a comment": f"# BASIS SET: (1s) -> [1s]\n{data}END\n",
        "data without a name": f"{numbers}\n",
        "data in one line": data.replace("\n", " "),
        "data with returns": data.replace("\n", "\r\n"),
        "data behind separators": data.replace("\n", "\u2028"),
        "data after a name": f"def2-svp\n{data}",
        "core potential": f"H nelec 0\nH ul\n2 {call} 1.0\nECP\n",
        "GTH data": f"H GTH-SZV\n1\n1 0 0 1 1\n{numbers}\n",
        "decontracted data": f"unc{data}",
        "contracted data": f"{data}@1s",
    }
    paths = {
        "path": str(file),
        "relative path": f"./{file.name}",
        "name of a file": file.name,
        "path through a parent": f"{folder}/x/../{file.name}",
        "decontracted path": f"unc{file}",
        "contracted path": f"{file}@1s",
        "address": f"file://{file}",
        "path with blanks": f" {file} ",
        "folder": str(folder),
        "device": "/dev/zero",
        "home": "~",
    }
    languages = {
        "expression": call,
        "expression in a format": f"{{{call}}}",
        "attribute in a format": "{0.__class__.__mro__}",
        "template": f"{{{{ {call} }}}}",
        "resolver": "${oc.env:HOME}",
        "tag": f"!!python/object/apply:os.mkdir ['{marker}']",
        "shell": f"$(touch {marker})",
        "shell in quotes": f"`touch {marker}`",
        "second command": f"pbe; touch {marker}",
        "mathtext": r"$\frac{",
        "markup": "[/x][link=file:///etc/passwd]y[/link]",
    }
    characters = {
        "escape": "\x1b[2J\x1b]0;title\x07",
        "nul": "def2-svp\0",
        "line end": "def2-svp\n",
        "return": "def2-svp\r",
        "turned direction": "\u202epvs-2fed",
        "zero width": "def2\u200b-svp",
        "look-alike": "d\u0435f2-svp",
        "full width": "\uff44\uff45\uff46\uff12-svp",
        "surrogate": "\ud800",
        "long": "x" * 100_000,
        "empty": "",
        "blank": " ",
        "number": "999999",
        "not a number": "nan*pbe",
    }
    return evaluated | paths | languages | characters
