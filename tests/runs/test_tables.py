"""One table, laid out in every form and escaped for each."""

import csv
import io
import json
import textwrap

import pytest

from nfvae.runs.columns import columns
from nfvae.runs.tables import FORMATS, TEXT_WIDTH, Column, Table, paragraph

COLUMNS = [
    Column("run", "run"),
    Column("images", "images", 0),
    Column("elbo", "-ELBO, nats", 2, "elbo_se", sign=-1),
    Column("share", "k̂ > 0.7", 1, percent=True),
    Column("never", "never known", 2),
]
ROWS = [
    {"run": "a|b_<i>&", "images": 1000, "elbo": -90.126, "elbo_se": 0.25, "share": 0.875, "never": None},
    {"run": "plain", "images": 1000, "elbo": -80.0, "elbo_se": None, "share": None, "never": None},
]


def test_text_says_once_what_rows_share_and_leaves_out_what_nobody_knows():
    text = Table(ROWS, COLUMNS).text()
    assert text.splitlines()[0] == "in every row: images 1,000"
    assert "90.13 ± 0.25" in text
    assert "87.5%" in text
    assert "in every row" not in Table(ROWS, COLUMNS, chosen=True).text()
    assert "never" not in text
    assert len({len(line.replace("\u0302", "")) for line in text.splitlines()[2:]}) == 1
    assert "images" in Table(ROWS[:1], COLUMNS).text().splitlines()[0]


def test_a_wide_table_is_cut_in_pieces_that_all_name_their_rows():
    columns = [Column("run", "run"), *(Column(f"n{i}", f"a rather long heading {i}", 3) for i in range(12))]
    rows = [{"run": name, **{f"n{i}": i + ord(name) for i in range(12)}} for name in "ab"]
    text = Table(rows, columns).text()
    blocks = text.split("\n\n")
    assert len(blocks) > 2
    assert all(len(line) <= TEXT_WIDTH for line in text.splitlines())
    assert all(block.splitlines()[2].startswith("| a ") for block in blocks)
    assert all(text.count(f"heading {i} ") == 1 for i in range(12))


SHARED = {"images": 20, "parameters": 9}
SIZES = {"importance": {"samples": 50, "proposal": "mixture"}, "annealed": {"chains": 4, "temperatures": 9}}
EVALUATED = [
    {"run": run, "estimator": name, "nll": nll, "nll_se": 0.5, "gap": 3.0, **SHARED, **sizes}
    for run, nll in (("runs/one", 80.0), ("runs/another", 90.0))
    for name, sizes in SIZES.items()
]


@pytest.mark.parametrize("width", [48, 60, 80])
def test_every_block_says_run_and_estimator_and_fits_into_the_terminal(width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    rows = [row | {f"n{i}": i + len(row["run"]) for i in range(9)} for row in EVALUATED]
    text = Table(rows, [*columns(), *(Column(f"n{i}", f"number {i}", 1) for i in range(9))]).text()
    assert max(map(len, text.splitlines())) <= width
    caption, *blocks = text.split("\n\n")
    assert "samples 50 (importance)" in " ".join(caption.split())
    assert "temperatures 9 (annealed)" in " ".join(caption.split())
    assert len(blocks) > 1
    for block in blocks:
        head, _, *lines = ([cell.strip() for cell in line.split("|")[1:3]] for line in block.splitlines())
        assert head == ["run", "estimator"]
        assert lines == [[row["run"], row["estimator"]] for row in rows]


def test_rows_that_differ_in_split_and_samples_say_so_in_every_block():
    rows = [EVALUATED[0] | {"split": split, "samples": count} for split, count in (("test", 50), ("val", 60))]
    for block in Table(rows, columns()).text(40).split("\n\n")[1:]:
        assert [cell.strip() for cell in block.splitlines()[0].split("|")[1:4]] == ["run", "split", "samples"]


def test_one_row_is_named_by_its_run_alone():
    text = Table(EVALUATED[:1], columns()).text(40)
    assert [text.count(heading) for heading in ("estimator", "proposal", "chains")] == [1, 1, 0]


def test_a_wide_terminal_is_used_and_a_name_too_long_for_a_narrow_one_is_folded():
    columns = [Column("run", "run"), *(Column(f"n{i}", f"a rather long heading {i}", 3) for i in range(12))]
    row = {"run": "z" * 50, **{f"n{i}": 0.5 for i in range(12)}}
    assert len(Table([row], columns).text(500).splitlines()) == 3
    narrow = Table([row], columns).text(48)
    assert max(map(len, narrow.splitlines())) <= 48
    assert narrow.count("| run ") == 12
    assert narrow.count("z") == 12 * 50
    named = Table([row | {"run": "runs/" + "z" * 50 + "-and/more"}], columns).text(60)
    assert "| runs/" + "z" * 24 in named
    assert "| and/more " in named
    assert "z" * 60 in Table([{"run": "z" * 60}], columns).text(80)


def test_prose_is_as_wide_as_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    assert paragraph("one two " * 20) == textwrap.fill("one two " * 20, 30)
    assert max(map(len, paragraph("one two " * 50, 200).splitlines())) <= TEXT_WIDTH


def test_every_form_escapes_what_it_must():
    table = Table(ROWS, COLUMNS)
    assert r"| a\|b\_&lt;i>& | 1,000 |" in table.markdown()
    assert r"a$|$b\_$<$i$>$\& & 90.13 $\pm$ 0.25 & 87.5\% \\" in table.latex()
    assert r"$\hat k$ $>$ 0.7" in table.latex()
    assert "<td>a|b_&lt;i&gt;&amp;</td>" in table.html()
    assert "\\x1b[31m" in Table([{"run": "\x1b[31mred"}], COLUMNS).text()
    assert {line.count("|") for line in Table(ROWS[1:], COLUMNS).markdown().splitlines()} == {4}


def test_csv_and_json_keep_every_number_unrounded():
    table = Table(ROWS, COLUMNS)
    assert json.loads(table.json()) == ROWS
    (row, _) = csv.DictReader(io.StringIO(table.csv()))
    assert (row["run"], row["elbo"], row["never"]) == ("a|b_<i>&", "-90.126", "")
    assert set(FORMATS) == {"table", "markdown", "csv", "json", "latex", "html"}


def test_wide_characters_are_aligned_and_no_environment_colors_a_table(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    table = Table([{"run": "数字", "a": 1}, {"run": "run [b]", "a": 22}], [Column("run", "run"), Column("a", "a", 0)])
    assert table.text() == "| run     |  a |\n|---------|----|\n| 数字    |  1 |\n| run [b] | 22 |"
