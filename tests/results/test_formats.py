"""The four formats, to the letter."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.formats import FORMATS, Grid, as_text, formatted
from results.problems import ResultsError

GRID = Grid(
    columns=["method", "mean", "episodes", "settings"],
    rows=[
        ["hypogen", 819.234, 360, {"hypogen.blocks": "8"}],
        ["cond_policy", None, 0, {}],
        ["a|b 50 %", -1.125, 1200, {"x": "1", "y": "2"}],
    ],
    title="Returns",
    notes=["Of tests."],
    decimals={"mean": 2},
)

GOLDEN = {
    "text": """\
Returns
Of tests.

method         mean  episodes  settings
-----------  ------  --------  ----------------
hypogen      819.23       360  hypogen.blocks=8
cond_policy       -         0  -
a|b 50 %      -1.12      1200  x=1, y=2
""",
    "markdown": """\
**Returns**

Of tests.

| method | mean | episodes | settings |
| --- | ---: | ---: | --- |
| hypogen | 819.23 | 360 | hypogen.blocks=8 |
| cond_policy | - | 0 | - |
| a\\|b 50 % | -1.12 | 1200 | x=1, y=2 |
""",
    "latex": r"""% Returns
% Of tests.
\begin{tabular}{lrrl}
\toprule
method & mean & episodes & settings \\
\midrule
hypogen & 819.23 & 360 & hypogen.blocks=8 \\
cond\_policy & - & 0 & - \\
a|b 50 \% & -1.12 & 1200 & x=1, y=2 \\
\bottomrule
\end{tabular}
""",
    "csv": """\
method,mean,episodes,settings
hypogen,819.234,360,"{""hypogen.blocks"": ""8""}"
cond_policy,,0,
a|b 50 %,-1.125,1200,"{""x"": ""1"", ""y"": ""2""}"
""",
}


@pytest.mark.parametrize("name", FORMATS)
def test_golden(name):
    assert formatted(GRID, name) == GOLDEN[name]


def test_without_title_notes_and_rows():
    grid = Grid(["method", "mean"], [])
    assert formatted(grid, "text") == "method  mean\n------  ----\n(no rows)\n"
    assert formatted(grid, "markdown") == "| method | mean |\n| --- | --- |\n"
    assert formatted(grid, "csv") == "method,mean\n"


def test_an_unknown_format_is_refused_with_the_nearest():
    with pytest.raises(ResultsError, match=r"'latx'. Did you mean 'latex'"):
        formatted(GRID, "latx")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (True, "true"),
        (False, "false"),
        (0, "0"),
        (0.0001, "0.0001"),
        (1234567.0, "1.23457e+06"),
        (float("nan"), "nan"),
        ([5.0, 0.3], "[5, 0.3]"),
        ({"a": "1", "b": None}, "a=1, b=-"),
    ],
)
def test_values_as_a_person_reads_them(value, text):
    assert as_text(value) == text


def test_latex_prints_every_special_character():
    grid = Grid(["a_b"], [["\\ & % $ # _ { } ~ ^"]])
    assert r"\textbackslash{} \& \% \$ \# \_ \{ \} \textasciitilde{} \textasciicircum{} \\" in formatted(grid, "latex")


numbers = st.one_of(st.none(), st.floats(allow_nan=False), st.integers())


@given(st.lists(st.tuples(st.text(st.characters(codec="utf-8", exclude_categories=["C"])), numbers), max_size=6))
def test_csv_gives_back_every_digit_and_every_gap(rows):
    grid = Grid(["name", "value"], rows, decimals={"value": 2})
    read = list(csv.reader(io.StringIO(formatted(grid, "csv"))))
    assert read[0] == ["name", "value"]
    for (name, value), (name_read, value_read) in zip(rows, read[1:], strict=True):
        assert name_read == name
        assert (None if value_read == "" else type(value)(value_read)) == value


@given(st.lists(st.tuples(st.text(max_size=8), numbers), max_size=6))
def test_text_and_markdown_have_one_line_a_row(rows):
    grid = Grid(["name", "value"], rows)
    assert len(formatted(grid, "text").split("\n")) == 3 + max(1, len(rows))
    assert len(formatted(grid, "markdown").split("\n")) == 3 + len(rows)
