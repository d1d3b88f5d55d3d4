"""What the site has beside the pages in this folder: notebooks, the help of every command, and typeset formulas."""

import os
import re
from importlib.metadata import files as files_of
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url
from nbconvert import MarkdownExporter

from nfvae.commands import COMMANDS
from nfvae.commands.arguments import parser_of

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_COMMANDS, _MATHJAX = "commands.md", "mathjax/tex-svg.js"
_TYPESET = """
<script>MathJax = {options: {ignoreHtmlClass: ".*", processHtmlClass: "arithmatex", enableMenu: false}}</script>
<script async src="%s"></script>
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each notebook, with its outputs, one with the help of every command, and MathJax."""
    for path in sorted(Path(config.config_file_path).parent.glob("notebooks/*.ipynb")):
        name = f"tutorials/{path.stem}"
        body, resources = MarkdownExporter().from_filename(path, {"output_files_dir": f"{path.stem}_files"})
        files.append(File.generated(config, f"{name}.md", content=_ANSI.sub("", body)))
        for picture, content in resources["outputs"].items():
            files.append(File.generated(config, f"tutorials/{picture}", content=content))
    files.append(File.generated(config, _COMMANDS, content=_help_of_commands()))
    mathjax = next(file for file in files_of("sphinx-mathjax-offline") or [] if file.name == Path(_MATHJAX).name)
    files.append(File.generated(config, _MATHJAX, content=mathjax.read_text()))
    return files


def on_page_content(content: str, page: Page, **_: object) -> str:
    """Have the formulas of a page typeset by the MathJax that lies beside it."""
    has_formulas = 'class="arithmatex"' in content
    return content + _TYPESET % get_relative_url(_MATHJAX, page.url) if has_formulas else content


def _help_of_commands() -> str:
    parts = ["# Commands", "Each command with all arguments and their defaults, as `nfvae COMMAND --help` prints them."]
    for name, command in COMMANDS.items():
        parts += [f"## nfvae {name}", f"To {command.summary}.", f"```text\n{_help(name).strip()}\n```"]
    return "\n\n".join(parts) + "\n"


def _help(name: str) -> str:
    os.environ["COLUMNS"] = "100"  # the width of argparse's help
    return "".join(each for each in parser_of(name).format_help() if each.isprintable() or each == "\n")
