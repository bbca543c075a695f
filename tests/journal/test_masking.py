"""Secrets in a command line: what is masked, and what is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor_core.journal.masking import masked


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["--api-key=s3cret"], ["--api-key=***"]),
        (["--api-key", "s3cret", "next"], ["--api-key", "***", "next"]),
        (["-token", "s3cret"], ["-token", "***"]),
        (["--hfToken=s3cret"], ["--hfToken=***"]),
        (["--db_password=s3 c,r=et"], ["--db_password=***"]),
        (["--credentials", "s3cret"], ["--credentials", "***"]),
        (["--APIKEY", "s3cret"], ["--APIKEY", "***"]),
        (["--client-secret=s3cret"], ["--client-secret=***"]),
        (["HF_TOKEN=s3cret", "epochs=3"], ["HF_TOKEN=***", "epochs=3"]),
        (["+tracker.wandb.api_key=s3cret"], ["+tracker.wandb.api_key=***"]),
        (["--env=API_KEY=s3cret"], ["--env=API_KEY=***"]),
        (["--set", "lr=0.1,token=s3cret,width=3"], ["--set", "lr=0.1,token=***,width=3"]),
        (['{"api_key": "s3 cret", "width": 3}'], ['{"api_key": ***, "width": 3}']),
        (["-H", "Authorization: Bearer s3cret"], ["-H", "Authorization: ***"]),
        (["https://me:s3cret@example.org/a"], ["https://***@example.org/a"]),
        (["--db=postgres://me:s3cret@x/y@z"], ["--db=postgres://***@x/y@z"]),
        (["--log=https://s3cret@example.org?a=1"], ["--log=https://***@example.org?a=1"]),
        (["https://example.org/?token=s3cret&a=1"], ["https://example.org/?token=***&a=1"]),
    ],
)
def test_what_looks_secret_is_masked(arguments, shown):
    """Values of options, assignments, headers and in URLs; their names stay."""
    assert masked(arguments) == shown


@pytest.mark.parametrize(
    "argument",
    [
        "train.py",
        "--epochs=3",
        "--max-tokens=512",
        "--tokenizer=bpe",
        "--keyword=a",
        "--secretary",
        "--token",
        "https://example.org/a@b",
        "me@example.org",
        "C:\\data",
        "{'width': 3}",
        "",
    ],
)
def test_what_does_not_look_secret_stays(argument):
    """Neither words that only begin like one nor options without a value are touched."""
    assert masked([argument, "--next"]) == [argument, "--next"]


def test_an_option_after_a_secret_one_is_not_its_value():
    """A switch whose name looks secret hides no option."""
    assert masked(["--use-key", "--epochs=3", "--token", "-v"]) == ["--use-key", "--epochs=3", "--token", "-v"]


@given(st.lists(st.text()))
def test_any_command_line_has_as_many_arguments_as_before(arguments):
    """Masking never raises, and leaves the number of arguments."""
    assert len(masked(arguments)) == len(arguments)
