"""The shells complete the command lines of all commands, with the files that are installed."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.acceptance.relay import BIN, HANG, ROOT

from emailrelay.setup import shipped

COMPLETION = ROOT / "docs" / "completion"
BASH = """\
source "$1"; shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_POINT=${#COMP_LINE} COMP_TYPE=9
read -ra registered <<< "$(complete -p "$1")"
for ((i = 0; i < ${#registered[@]}; i++)); do
    if [[ ${registered[i]} == -F ]]; then
        "${registered[i + 1]}" "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
    fi
done
printf '%s\\n' "${COMPREPLY[@]}"
"""
ZSH = r"""
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell "stty columns 200; PROMPT=; fpath=($1 \$fpath); autoload -Uz compinit; compinit -u -D"
zpty -w shell "setopt interactivecomments nobeep; unsetopt listambiguous; print -r READ''Y"
zpty -r -m shell seen '*READY*'
# The Tab comes after the line has been shown, so it reaches the line editor and not the terminal.
zpty -w -n shell "$2"
zpty -r -m shell seen "*${2##* }*"
zpty -w -n shell $'\t'
# A comment is harmless; the words of the next command are shown in one piece by print only.
zpty -w -n shell $'\C-a#\C-e\n'
zpty -w shell "print -r EN''D"
zpty -r -m shell seen '*END*'
print -r -- "$seen"
"""
DIRECTORY = {"mail.eml": False, "mails": True}
"""What lies in the working directory, with True for a directory."""
CASES = {
    "emailrelay-queue li": {"list"},
    "emailrelay-queue list --st": {"--state", "--store"},
    "emailrelay-queue list --by rep": {"reply"},
    "emailrelay-queue list --state de": {"deferred"},
    "emailrelay-config ch": {"check"},
    "emailrelay-config check rec": {"receiver"},
    "emailrelay-receiver --log-format js": {"json"},
    "emailrelay-doctor --client-tls-req": {"--client-tls-required"},
    "emailrelay --as-ser": {"--as-server"},
    "emailrelay-filter-test --message mail.": {"mail.eml"},
    "emailrelay-receiver --spool-dir mai": {"mails"},
}
"""A line, and the words that its last word is the beginning of."""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("completion")
    for name, is_directory in DIRECTORY.items():
        (made / name).mkdir() if is_directory else (made / name).touch()
    return made


def completed(shell: str, line: str, directory: Path) -> set[str]:
    """Give the words that a shell offers for the last word of a line, and others beside them."""
    words = line.split(" ")
    runs = {
        "bash": [BASH, "bash", f"{COMPLETION}/bash-completion/completions/{words[0]}", *words],
        "fish": ["complete -C $argv[1]", line],
        "zsh": [ZSH, "zsh", f"{COMPLETION}/zsh/site-functions", line],
    }
    done = subprocess.run(
        [shell, "-c", *runs[shell]],
        capture_output=True,
        text=True,
        timeout=HANG,
        check=True,
        cwd=directory,
        env={
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "HOME": str(directory),
            "TERM": "dumb",
            "LC_ALL": "C.UTF-8",
            "XDG_DATA_DIRS": str(COMPLETION),
        },
    )
    assert done.stderr == ""
    return {word.rstrip("/\b") for word in done.stdout.split()}


@pytest.mark.parametrize("shell", ["bash", "fish", "zsh"])
@pytest.mark.parametrize("line", CASES)
def test_shell_completes_the_last_word(shell: str, line: str, directory: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")
    assert CASES[line] <= completed(shell, line, directory)


@pytest.mark.parametrize(
    ("shell", "folder"),
    [("bash", "bash-completion"), ("fish", "fish"), ("zsh", "zsh")],
)
def test_every_command_has_a_completion_without_a_syntax_error(shell: str, folder: str) -> None:
    files = [path for path in (COMPLETION / folder).rglob("*") if path.is_file()]
    named = {path.name.removeprefix("_").removesuffix(".fish") for path in files}
    assert named == {name for name in shipped.commands() if not name.endswith(".sh")}
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")
    for path in files:
        subprocess.run([shell, "-n", path], timeout=HANG, check=True)
