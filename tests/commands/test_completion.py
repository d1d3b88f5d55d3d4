"""`nfvae --print_shtab`: what a shell then completes."""

import shutil
import subprocess

import pytest

ASK = """source ./script
COMP_WORDS=("$@"); COMP_CWORD=$((${#COMP_WORDS[@]}-1)); COMPREPLY=()
_shtab_nfvae "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
echo "${COMPREPLY[*]}"
"""


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_bash_completes_commands_settings_and_names(cli, workdir):
    code, script, _ = cli("--print_shtab", "bash")
    assert code == 0
    (workdir / "script").write_text(script)
    for words, expected in [
        (["pl"], "plot"),
        (["fit", "--model.fl"], "--model.flow --model.flow_options"),
        (["fit", "--model.flow", "syl"], "sylvester"),
        (["fit", "--data.dataset", "omni"], "omniglot"),
        (["fit", "--overwrite", ""], "true false"),
        (["fit", "-c", "scr"], "script"),
        (["fit", "--trainer.max_ep"], "--trainer.max_epochs"),
        (["test", "--model.test"], "--model.test_samples"),
        (["plot", "inter"], "interpolation"),
        (["evaluate", "--format", "la"], "latex"),
        (["evaluate", "--estimator", ""], "importance annealed sandwich"),
        (["gap", "--budget", ""], "small default large"),
        (["encode", "--input", "scr"], "script"),
    ]:
        asked = ["bash", "-c", ASK, "bash", "nfvae", *words]
        assert subprocess.check_output(asked, text=True).split() == expected.split(), words


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells_have_a_script(shell, cli):
    code, script, _ = cli("--print_shtab", shell)
    assert code == 0
    assert "--model.flow" in script


def test_an_unknown_shell_gives_one_line(cli):
    code, _, error = cli("--print_shtab", "bsh")
    assert code == 2
    assert error.startswith("nfvae: error: unknown shell 'bsh'; known shells: bash")
    assert error.endswith("did you mean bash?\n")
