"""Text of unknown origin, when printed, cannot control a terminal or forge a line."""

import logging
import re
import sys
from datetime import UTC, datetime

import orjson
import pytest
from cli_support import command_line
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from stem_amqp.cli.dead_letter_view import document, list_view, show_view
from stem_amqp.cli.output import note, print_line, show, show_error, show_json, show_warning, table
from stem_amqp.cli.record_view import list_view as record_list
from stem_amqp.clock import SystemClock
from stem_amqp.dead_letter import DeadLetter
from stem_amqp.integrations.logs import KeyValueFormatter
from stem_amqp.results.model import TaskRecord, Transition
from stem_amqp.results.sqlite.backend import SqliteBackend
from stem_amqp.states import TaskState
from stem_amqp.text.printable import escaped_lines, indented, json_text, one_line
from stem_amqp.worker.report.logs import JsonFormatter, TextFormatter

HOSTILE = [
    "\x1b]52;c;cm0gLXJm\x07",  # writes into the clipboard
    "\x1b[2J\x1b[H",  # clears the screen
    "\x9b2J\x90q\x9c",  # the same in C1
    "\u202egpj.exe\u2066",  # change the direction of text
    "a\rb\x08\x7f\x00",
    "\u2028\u2029\x85\x0b\x0c\x1c",  # various line ends
    "\udc80\ud800",
    "\u200b\ufeff\u00ad\U000e0041",  # invisible characters
    "x" * 300_000,
]
FORGED = "\nerror: forged\nFORGED  line\r\nFORGED"
TEXTS = st.text(max_size=20) | st.sampled_from(HOSTILE).map(lambda text: text[:40])
UNSAFE = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u00ad\u200b\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
FEW = settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])


def assert_safe(printed):
    """Check that the text has no control character, and that no line begins with foreign text."""
    assert UNSAFE.search(printed) is None, repr(UNSAFE.search(printed))
    assert not re.search("^(error: forged|FORGED)", printed, re.MULTILINE), printed


@given(TEXTS)
@example(FORGED)
@example("\x1b]8;;http://x\x07")
def test_every_form_is_safe(text):
    """A one-line form has one line, and blocks stay within their indentation."""
    assert "\n" not in one_line(text)
    for form in (
        one_line(text),
        indented(text, "  "),
        escaped_lines(text),
        json_text(text),
    ):
        assert UNSAFE.search(form) is None
    assert all(line.startswith("  ") for line in indented(text, "  ").split("\n")[1:])


@given(st.text())
def test_what_is_harmless_stays(text):
    """Words, composed emoji and blanks are not changed; JSON keeps its meaning."""
    assert one_line("Größe 日本 👩\u200d💻 a\u00a0b") == "Größe 日本 👩\u200d💻 a\u00a0b"
    if text.encode(errors="ignore").decode() == text:
        assert orjson.loads(json_text({text: [text]})) == {text: [text]}


def test_a_long_text_is_cut():
    """A page of it is shown, with the size of the rest."""
    assert one_line("x" * 100, 10) == "xxxxxxxxxx … (90 characters more)"


def letter(text):
    return DeadLetter(
        position=1, id=text, task=text, reason=text, error=text, traceback=text, worker=text,
        failed_at=datetime.now(UTC), history=(text,), meta={text: text}, args={text: text},
        headers={text: text}, body=text.encode(errors="replace"), problem=text, signature=text,
    )  # fmt: skip


def record(text):
    return TaskRecord(
        task_id=text, task=text, queue=text, state=TaskState.FAILED, attempt=0, replay=0,
        created_at=0.0, updated_at=0.0, worker=text, reason=text, error=text, traceback=text,
    )  # fmt: skip


def row(text):
    lines = table("name", "text", whole=("name",))
    lines.add_row(text, text)
    return lines


PRINTED = {
    "dlq list": lambda text: show(list_view([letter(text)])),
    "dlq show": lambda text: show(show_view(letter(text))),
    "dlq list --json": lambda text: show_json(document(letter(text), whole=True)),
    "results": lambda text: show(record_list([record(text)], 500)),
    "results in pairs": lambda text: show(record_list([record(text)], 30)),
    "a table": lambda text: show(row("a" + text)),
    "an error": lambda text: show_error(f"no {text}"),
    "a warning": lambda text: show_warning(f"no {text}"),
    "a remark": lambda text: note(one_line(text)),
    "a line": print_line,
}


@pytest.mark.parametrize("terminal", [False, True], ids=["pipe", "terminal"])
@pytest.mark.parametrize("place", PRINTED)
def test_no_command_prints_what_steers_a_terminal(place, terminal, capsys, monkeypatch):
    """This holds for any text of a message, a record or an error, in a pipe and on a terminal."""
    monkeypatch.setenv("TERM", "dumb" if terminal else "")
    monkeypatch.setenv("NO_COLOR", "1")
    if terminal:
        for stream in (sys.stdout, sys.stderr):
            monkeypatch.setattr(stream, "isatty", lambda: True)

    @FEW
    @given(TEXTS)
    def run(text):
        PRINTED[place](text)
        captured = capsys.readouterr()
        assert UNSAFE.search(captured.out + captured.err) is None

    run()
    for text in (*HOSTILE, FORGED, "ok" + FORGED):
        if place == "a table" and "\n" in text:
            continue  # a table's cell may have lines; code that prints names makes them one line
        PRINTED[place](text)
        captured = capsys.readouterr()
        assert_safe(captured.out + captured.err)


FORMATTERS = [TextFormatter, JsonFormatter, KeyValueFormatter]


@pytest.mark.parametrize("formatter", FORMATTERS)
@given(TEXTS)
@example(FORGED)
def test_no_text_forges_a_line_of_a_log(formatter, text):
    """This holds for the message, the task's fields, and an error's text."""
    try:
        raise ValueError(text + FORGED)
    except ValueError:
        exc_info = sys.exc_info()
    line = logging.LogRecord("x", logging.INFO, "f.py", 1, "said %s", (text,), None)
    failed = logging.LogRecord("x", logging.ERROR, "f.py", 1, "failed", (), exc_info)
    for made in (line, failed):
        vars(made).update(task_id=text, task_name=text, task_attempt=0)
        written = formatter().format(made)
        assert_safe(written)
        _, *more = written.split("\n")
        assert all(below.startswith("    ") for below in more)
        assert not more or (made is failed and formatter is TextFormatter)


def test_a_log_line_has_no_secret_of_a_url():
    """Errors of client libraries contain URLs."""
    made = logging.LogRecord("x", 20, "f.py", 1, "no amqp://u:hunter2@h/ here", (), None)
    assert all("hunter2" not in formatter().format(made) for formatter in FORMATTERS)


def test_result_shows_a_hostile_record(capsys, monkeypatch, tmp_path):
    """The whole command is tested with a record of another program."""
    import asyncio

    async def store():
        backend = SqliteBackend(tmp_path / "r.db", SystemClock())
        await backend.open()
        text = "".join(HOSTILE[:6]) + FORGED
        change = (
            Transition(
                task_id="i", task="t", queue="q" + text, state=TaskState.FAILED,
                at=SystemClock().time(), worker=text, reason=text, error=text, traceback=text,
                meta={text: text},
            )
        )  # fmt: skip
        await backend.transition([change])
        await backend.close()

    asyncio.run(store())
    with command_line(capsys, monkeypatch, tmp_path) as cli:
        ran = cli(
            "result", "i", "--backend-url", f"sqlite:///{tmp_path}/r.db".replace("///", "////", 1)
        )
    assert ran.code == 1
    assert_safe(ran.out + ran.err)
