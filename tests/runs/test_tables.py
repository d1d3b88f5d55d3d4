"""One table, laid out in every form and escaped for each."""

import csv
import io
import json

from nfvae.runs.tables import FORMATS, TEXT_WIDTH, Column, Table

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


def test_every_form_escapes_what_it_must():
    table = Table(ROWS, COLUMNS)
    assert r"| a\|b\_&lt;i>& | 1,000 |" in table.markdown()
    assert r"a$|$b\_$<$i$>$\& & 1,000 & 90.13 $\pm$ 0.25 & 87.5\% \\" in table.latex()
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
