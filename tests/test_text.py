from __future__ import annotations

import pytest

from ase_mlwave.text import clean, plain, refuse_odd_strings


@pytest.mark.parametrize(
    "odd",
    [
        "two\nlines",
        "return\r",
        "tab\t",
        "nul\0",
        "\x1b[31mred",
        "\x9b31m",
        "\u202etxet",
        "zero\u200bwidth",
        "\ud800",
        "line\u2028separator",
    ],
)
def test_names_are_one_line_of_printable_characters(odd: str) -> None:
    with pytest.raises(ValueError, match="one line of printable characters"):
        plain(odd)
    with pytest.raises(ValueError, match="a string in x"):
        refuse_odd_strings({"a": [1, None, {"b": (odd,)}]}, "x", 100)
    with pytest.raises(ValueError, match="a string in x"):
        refuse_odd_strings({"a": {odd: 1}}, "x", 100)
    assert clean(odd).replace("\n", "").replace("\t", "").isprintable()


def test_names_have_bounded_length_and_so_has_the_message() -> None:
    assert plain("x" * 200) == "x" * 200
    with pytest.raises(ValueError, match="has 100000 characters") as caught:
        plain("x" * 100_000)
    assert len(str(caught.value)) < 200


def test_what_can_be_read_is_left_as_it_is() -> None:
    text = "ωB97X-D/def2-TZVP, 0.1 Å\n\tsecond line"
    assert clean(text) == text
    assert plain("ωB97X-D/def2-TZVP") == "ωB97X-D/def2-TZVP"
    assert clean("a\x1b[2Jb\r\n\u202e") == "a\\x1b[2Jb\\r\n\\u202e"


def test_nesting_has_no_depth_limit() -> None:
    nested: list[object] = []
    for _ in range(100_000):
        nested = [nested]
    refuse_odd_strings(nested, "x", 10)
