"""What a person reads is plain: no words of this house alone, and help texts that can be read by themselves."""

import json
import re
from pathlib import Path

import pytest

from nfvae.commands import COMMANDS
from nfvae.commands.arguments import parser_of
from nfvae.commands.pictures import PICTURES
from nfvae.runs.columns import columns
from nfvae.runs.estimators import estimator_classes

ROOT = Path(__file__).resolve().parent.parent
HOUSE_WORDS = re.compile(
    r"\b(told under|is told|gone on with|goes? on from|one's own|of one's|nobody's|in vain|stands? aside|as it stands"
    r"|such a one|unless told|unless asked|asked for|further ones|takes? back)\b",
    re.IGNORECASE,
)
FRAGMENT = re.compile(r"^(of|that|which|what|as|where|how far)\b", re.IGNORECASE)


def notebook_text(path):
    cells = json.loads(path.read_text())["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def pages():
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "benchmarks/README.md"]:
        yield pytest.param(path.read_text(), id=path.relative_to(ROOT).as_posix())
    for path in ROOT.glob("configs/**/*.yaml"):
        yield pytest.param(path.read_text(), id=path.relative_to(ROOT).as_posix())
    for path in ROOT.glob("notebooks/*.ipynb"):
        yield pytest.param(notebook_text(path), id=path.name)


def own_actions(parser):
    """The arguments of a parser that are nfvae's own, not those of Lightning's classes."""
    return [action for action in parser._actions if action.help and not action.dest.startswith("trainer")]


@pytest.mark.parametrize("text", list(pages()))
def test_pages_have_no_words_of_this_house(text):
    found = HOUSE_WORDS.search(text)
    assert not found, text[max(0, found.start() - 60) : found.end() + 40]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_text_can_be_read_alone(name):
    parser = parser_of(name)
    assert not HOUSE_WORDS.search(parser.format_help())
    for action in own_actions(parser):
        assert not FRAGMENT.search(action.help), (action.dest, action.help)


def test_pictures_estimators_and_columns_are_explained_in_plain_words():
    for kind in [*estimator_classes().values(), *(PICTURES.load(name) for name in PICTURES)]:
        assert not FRAGMENT.search(kind.help), kind.help
        assert not HOUSE_WORDS.search(kind.help), kind.help
    for column in columns():
        assert not FRAGMENT.search(column.meaning), (column.key, column.meaning)
