"""What the shells run when Tab is pressed, and how names go to them and come back.

The protocol is click's. Its scripts are replaced where a name may hold what they cannot take:
a space, a colon or a ``*`` in bash, a comma in fish. Zsh's is click's own.

Rule: text only; what is offered is completion.py's.
"""

from __future__ import annotations

import os
import re
from typing import Any, NamedTuple

from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
)

_BASH = """\
%(complete_func)s() {
    local line
    COMPREPLY=()
    while IFS= read -r line; do
        case $line in
            plain,*) COMPREPLY+=("${line#plain,}") ;;
            file,*) compopt -o default ;;
            dir,*) compopt -o dirnames ;;
        esac
    done < <(env COMP_LINE="$COMP_LINE" COMP_POINT="$COMP_POINT" \\
        COMP_WORDBREAKS="$COMP_WORDBREAKS" %(complete_var)s=bash_complete "$1" 2>/dev/null)
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""

_FISH = """\
function %(complete_func)s
    set -l response (env %(complete_var)s=fish_complete COMP_WORDS=(commandline -cp) \\
        COMP_CWORD=(commandline -t) %(prog_name)s 2>/dev/null)

    for completion in $response
        set -l parts (string split --max 1 -- "," $completion)

        switch $parts[1]
            case plain
                printf "%%s\\n" $parts[2]
            case file
                __fish_complete_path $parts[2]
            case dir
                __fish_complete_directories $parts[2]
        end
    end
end

complete --no-files --command %(prog_name)s --arguments "(%(complete_func)s)"
"""

# All that means nothing to bash in the middle of a word.
_PLAIN_IN_BASH = re.compile(r"[^\w./:@%+,=-]", re.ASCII)

_BREAKS = " \t\n\"'@><=;|&(:"


class Typed(NamedTuple):
    """A command line up to the cursor, as bash reads it.

    The word at the cursor is ``fixed`` + the rest: readline puts a completion in place of the rest.
    ``quote`` is the quotation mark that is open there, or "".
    """

    words: list[str]
    incomplete: str
    fixed: str
    quote: str


def read_bash_line(line: str, breaks: str = _BREAKS) -> Typed:
    """Cut the line into words. The last one is the one at the cursor, and may be empty."""
    words: list[str] = []
    word = fixed = quote = ""
    is_word = False
    chars = iter(line)
    for char in chars:
        if quote:
            if char == quote:
                quote = ""
            elif char == "\\" and quote == '"':
                following = next(chars, "")
                word += following if following in '"\\$`' else char + following
            else:
                word += char
        elif char == "\\":
            word += next(chars, "")
            is_word = True
        elif char in "\"'":
            quote, fixed, is_word = char, word, True
        elif char in " \t\n":
            if is_word:
                words.append(word)
            word, fixed, is_word = "", "", False
        else:
            word += char
            is_word = True
            if char in breaks:
                fixed = word
    return Typed(words, word, fixed, quote)


def bash_word(value: str, typed: Typed) -> str:
    """What bash is to put in place of the rest of the word, so that the whole means value."""
    rest = value.removeprefix(typed.fixed.removeprefix(_option_part(typed.incomplete)))
    if typed.quote == "'":
        return rest.replace("'", "'\\''")
    if typed.quote == '"':
        return re.sub(r'(["\\$`])', r"\\\1", rest)
    return _PLAIN_IN_BASH.sub(lambda match: _bash_escape(match[0]), rest)


@add_completion_class
class Bash(BashComplete):
    """click's protocol for bash, with the line itself where it is given."""

    source_template = _BASH

    def source(self) -> str:
        # Without click's look at bash's version: a script is not printed by running another shell.
        return ShellComplete.source(self)

    def get_completion_args(self) -> tuple[list[str], str]:
        typed = _typed_in_bash()
        if typed is None:
            return super().get_completion_args()
        return typed.words[1:], typed.incomplete

    def format_completion(self, item: Any) -> str:
        typed = _typed_in_bash()
        if typed is not None and item.type == "plain":
            return f"plain,{bash_word(item.value, typed)}"
        return super().format_completion(item)


@add_completion_class
class Zsh(ZshComplete):
    """click's protocol for zsh."""

    def format_completion(self, item: Any) -> str:
        return super().format_completion(_whole_word(self, item))


@add_completion_class
class Fish(FishComplete):
    """click's protocol for fish; values may hold commas."""

    source_template = _FISH

    def format_completion(self, item: Any) -> str:
        return super().format_completion(_whole_word(self, item))


#: Shell -> its class and how its script is installed.
SHELLS: dict[str, tuple[type[ShellComplete], str]] = {
    "bash": (
        Bash,
        '# For this shell: eval "$(assetstore completion bash)"\n'
        "# For all to come: assetstore completion bash "
        "> ~/.local/share/bash-completion/completions/assetstore\n",
    ),
    "zsh": (
        Zsh,
        '# For this shell: eval "$(assetstore completion zsh)"\n'
        "# For all to come: assetstore completion zsh > a directory of $fpath, as _assetstore\n",
    ),
    "fish": (
        Fish,
        "# For this shell: assetstore completion fish | source\n"
        "# For all to come: assetstore completion fish "
        "> ~/.config/fish/completions/assetstore.fish\n",
    ),
}


def _option_part(incomplete: str) -> str:
    """The "--uri=" of "--uri=s3:", or ""."""
    match = re.match(r"--[a-z-]+=", incomplete)
    return match[0] if match else ""


def _whole_word(shell: ShellComplete, item: CompletionItem[str]) -> CompletionItem[str]:
    """The item as zsh and fish take it: they replace the word together with its option."""
    part = _option_part(shell.get_completion_args()[1])
    if not part or item.value.startswith(part):
        return item
    return CompletionItem(part + item.value, type=item.type, help=item.help)


def _typed_in_bash() -> Typed | None:
    line, point = os.environ.get("COMP_LINE"), os.environ.get("COMP_POINT", "")
    if line is None or not point.isdecimal():
        return None
    # bash counts the cursor's place in bytes of its locale's encoding.
    before = os.fsencode(line)[: int(point)].decode("utf-8", "surrogateescape")
    return read_bash_line(before, os.environ.get("COMP_WORDBREAKS", _BREAKS))


def _bash_escape(char: str) -> str:
    return char if not char.isascii() else f"\\{char}"
