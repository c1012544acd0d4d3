"""How a command line is read at the cursor in bash, and what is put there."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from assetstore_cli.shells import bash_word, read_bash_line


def arguments_in_bash(words: str) -> list[str]:
    """What a command gets for these words."""
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    shown = subprocess.run(
        ["bash", "-c", f"printf '%s\\n' {words}"], capture_output=True, text=True, check=True
    )
    return shown.stdout.splitlines()


@pytest.mark.parametrize(
    ("line", "words", "incomplete"),
    [
        ("assetstore ", ["assetstore"], ""),
        ("assetstore ge", ["assetstore"], "ge"),
        ("assetstore get my\\ o", ["assetstore", "get"], "my o"),
        ("assetstore get 'my o", ["assetstore", "get"], "my o"),
        ('assetstore get "my \\"o', ["assetstore", "get"], 'my "o'),
        ('assetstore get "a\\b', ["assetstore", "get"], "a\\b"),
        ("assetstore get 'my orders' ", ["assetstore", "get", "my orders"], ""),
        ("assetstore get '' k", ["assetstore", "get", ""], "k"),
        ("assetstore ls --uri s3://da", ["assetstore", "ls", "--uri"], "s3://da"),
        ("assetstore get a\\", ["assetstore", "get"], "a"),
        ("assetstore get naïve\u00a0", ["assetstore", "get"], "naïve\u00a0"),
    ],
)
def test_a_line_is_read_as_bash_reads_it(line: str, words: list[str], incomplete: str) -> None:
    typed = read_bash_line(line)

    assert (typed.words, typed.incomplete) == (words, incomplete)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("x ", "orders"),
        ("x or", "my orders"),
        ("x or", "a,b"),
        ("x ", "*.csv"),
        ("x ", "it's"),
        ("x ", 'say "x" $HOME `id`; rm -rf & #!~'),
        ("x ", "back\\slash"),
        ("x ", "東京 naïve"),
        ("x s3:", "s3://data/orders/"),
        ("x s3://data/o", "s3://data/my orders/"),
        ("x a@b", "a@b=c:d"),
        ("x my\\ o", "my orders"),
        ("x 'my o", "my 'orders'"),
        ('x "my o', 'my "or$ders`'),
        ("x 's3://d", "s3://data/"),
    ],
)
def test_what_is_put_there_makes_the_whole_word_mean_the_value(line: str, value: str) -> None:
    typed = read_bash_line(line)

    put = bash_word(value, typed)

    # readline keeps the line up to the last break (or the open quote) and puts the rest.
    before = line[: len(line) - len(line.split(" ", 1)[1])]
    word = line[len(before) :]
    if typed.quote:
        kept = word[: word.index(typed.quote) + 1]
        closing = typed.quote
    else:
        kept = word[: max(word.rfind(char) for char in ":=@") + 1]
        closing = ""
    assert arguments_in_bash(kept + put + closing) == [value]


def test_the_uri_of_an_option_with_an_equals_sign_is_completed_after_it() -> None:
    typed = read_bash_line("assetstore ls --uri=s3://da")

    assert bash_word("s3://data/orders/", typed) == "//data/orders/"
