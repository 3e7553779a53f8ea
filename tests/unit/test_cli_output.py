"""Tables and times that commands print, and JSON that they read."""

import io
import sys

import pytest
from rich.text import Text

from stem_amqp.cli import output
from stem_amqp.cli.json_argument import read_object, read_pairs
from stem_amqp.cli.options import split
from stem_amqp.errors import ConfigurationError
from stem_amqp.text import count


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"order_id" "x"}', 'Expecting \':\' delimiter\n  {"order_id" "x"}\n              ^'),
        ("{order_id: 1}", "  {order_id: 1}\n   ^"),
        ('{\n  "a": 1,\n  "b" 2\n}', '    "b" 2\n        ^'),
        ("", "Expecting value"),
        ("[1]", "must be a JSON object"),
        ('"text"', "must be a JSON object"),
        ('{"a": NaN}', "NaN is not a JSON value"),
    ],
)
def test_a_mistake_in_json_is_pointed_at(text, says):
    """The line is shown with a caret under the position."""
    with pytest.raises(ConfigurationError) as caught:
        read_object("--args", text)
    assert says in str(caught.value)


def test_a_mistake_in_long_json_is_cut_out_of_its_line():
    """Only the part of a long line around the mistake is shown."""
    text = '{"a": "' + "x" * 500 + '", b: 1, "c": "' + "y" * 500 + '"}'
    with pytest.raises(ConfigurationError) as caught:
        read_object("--args", text)
    _, line, caret, _ = str(caught.value).splitlines()
    assert len(line) < 80
    assert line[caret.index("^")] == "b"


def test_arguments_can_come_from_standard_input(monkeypatch):
    """Input that is too long for a command line can be piped."""
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"order_id": "order-42"}'))
    assert read_object("--args", "-") == {"order_id": "order-42"}


def test_metadata_is_texts_by_name():
    """The value may contain an equals sign; a pair without one is refused."""
    assert read_pairs("--meta", ["a=1", "b=x=y", "c="]) == {"a": "1", "b": "x=y", "c": ""}
    for wrong in ("a", "=1"):
        with pytest.raises(ConfigurationError, match="--meta"):
            read_pairs("--meta", [wrong])


def test_names_may_be_repeated_or_separated_by_commas():
    """-Q a,b -Q b,c is a, b, c."""
    assert split(["a, b", "b,c,", ""]) == ["a", "b", "c"]
    assert split(None) == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "now"),
        (7.4, "7 s ago"),
        (90, "1.5 min ago"),
        (7200, "2 h ago"),
        (-20, "in 20 s"),
        (3 * 86400, "1970-01-09 13:46:40 UTC"),
    ],
)
def test_times_are_written_as_people_say_them(seconds, text):
    """Near times are shown as a distance, far times as a date."""
    now = 1_000_000.0
    assert output.ago(now - seconds, now) == text


def test_a_table_is_never_cut_in_a_pipe(capsys, monkeypatch):
    """An id keeps its 36 characters, and lines have no trailing blanks."""
    monkeypatch.delenv("COLUMNS", raising=False)
    lines = output.table("id", "task", "n", numbers=("n",), whole=("id",))
    lines.add_row("0" * 36, "x" * 200, "7")
    lines.add_row("1" * 36, "[red]y[/red]", "12")
    output.show(lines)
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.startswith("ID ")
    assert first == f"{'0' * 36}  {'x' * 200}   7"
    assert "[red]y[/red]" in second
    assert second == second.rstrip()


def test_an_id_is_never_wrapped_on_a_narrow_terminal(capsys, monkeypatch):
    """The text beside it is wrapped instead."""
    monkeypatch.setenv("COLUMNS", "60")
    lines = output.table("id", "about", whole=("id",))
    lines.add_row("0" * 36, "some words that need more room than there is")
    output.show(lines)
    printed = capsys.readouterr().out.splitlines()
    assert max(map(len, printed)) <= 60
    assert "0" * 36 in printed[1]


def test_colours_are_for_terminals_only(capsys):
    """A pipe gets plain text."""
    output.show(Text("red", style="red"))
    output.show_error("no")
    captured = capsys.readouterr()
    assert captured.out == "red\n"
    assert captured.err == "error: no\n"


def test_numbers_and_their_words_agree():
    """One message, two messages, no messages."""
    assert [count(n, "message") for n in (0, 1, 2)] == [
        "no messages",
        "1 message",
        "2 messages",
    ]
