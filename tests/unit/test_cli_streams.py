"""Standard output and error: other encodings, closed pipes, full disks, terminals."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cli_support import ROOT

APP = """
from stem_amqp import Stem
stem = Stem()
@stem.task("orders.pack", description="für ✗ 😀", queue="orders")
def pack(x: int = 1) -> None:
    pass
"""
COMMANDS = {
    ("worker", "--help"): 0,
    ("nope",): 2,
    ("tasks", "shop:stem"): 0,
    ("topology", "show"): 0,
    ("health", "--broker-url", "amqp://localhost:1/"): 1,
}
"""Commands and their exit codes."""


@pytest.fixture
def run(tmp_path):
    """Run a command in its own process, in a directory with an application."""
    (tmp_path / "shop.py").write_text(APP, encoding="utf-8")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("STEM_")}

    def run(*words, environment=environment, **more):
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | more
        return subprocess.run(
            [sys.executable, "-m", "stem_amqp", *words],
            cwd=tmp_path,
            check=False,
            timeout=60,
            env={"PYTHONPATH": str(ROOT), **environment, **more.pop("variables", {})},
            **{name: value for name, value in options.items() if name != "variables"},
        )

    return run


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_an_output_of_another_encoding_is_no_bug(run, words):
    """Characters that it lacks are escaped, and the exit code stays the same."""
    ran = run(*words, variables={"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"})
    assert ran.returncode == COMMANDS[words]
    assert b"Traceback" not in ran.stderr
    ran.stdout.decode("ascii")


def test_json_stays_json_in_another_encoding(run):
    """The text is the same in every locale."""
    ran = run("tasks", "shop:stem", "--json", variables={"PYTHONIOENCODING": "ascii"})
    assert json.loads(ran.stdout)["tasks"][0]["description"] == "für ✗ 😀"


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_closed_reader_is_neither_a_bug_nor_an_answer(run, words):
    """After ``| head`` there is no traceback, and the exit code differs from a negative answer."""
    readable, writable = os.pipe()
    os.close(readable)
    try:
        ran = run(*words, stdout=writable)
    finally:
        os.close(writable)
    assert ran.returncode == (2 if words == ("nope",) else 141)
    assert b"Traceback" not in ran.stderr
    assert b"Exception ignored" not in ran.stderr


def test_unread_errors_leave_the_exit_code(run):
    """If standard error is closed, the exit code stays the same."""
    readable, writable = os.pipe()
    os.close(readable)
    try:
        ran = run("tasks", "nope:stem", stderr=writable)
    finally:
        os.close(writable)
    assert ran.returncode == 2


def test_a_full_disk_is_reported(run):
    """The output was not written, so the exit code is neither that of yes nor that of no."""
    with Path("/dev/full").open("wb") as full:
        ran = run("tasks", "shop:stem", stdout=full)
    assert ran.returncode == 74
    assert ran.stderr.decode() == "error: the output cannot be written: No space left on device\n"


def on_terminal(run, *words, **variables):
    """Run a command on a terminal, and return its output."""
    master, slave = pty.openpty()
    try:
        ran = run(*words, stdout=slave, stderr=slave, variables=variables)
    finally:
        os.close(slave)
    written = b""
    while True:
        try:
            part = os.read(master, 4096)
        except OSError:  # everything is read, and the other end is closed
            break
        written += part
    os.close(master)
    return ran.returncode, written.decode()


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_narrow_terminal_without_colours_has_none_and_no_longer_lines(run, words):
    """On 40 columns the lines fit, and NO_COLOR is respected."""
    code, text = on_terminal(run, *words, TERM="xterm-256color", NO_COLOR="1", COLUMNS="40")
    assert code == COMMANDS[words]
    assert re.search(r"\x1b\[[0-9;]*3[0-9]", text) is None
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert [line for line in re.split(r"\r?\n", plain) if len(line) > 40] == []


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_dumb_terminal_has_no_escapes(run, words):
    """An editor's shell shows escapes as text; its width is respected too."""
    code, text = on_terminal(run, *words, TERM="dumb", COLUMNS="40")
    assert code == COMMANDS[words]
    assert "\x1b" not in text
    if words not in {("nope",), ("worker", "--help")}:  # typer's own texts have 80 columns there
        assert [line for line in re.split(r"\r?\n", text) if len(line) > 40] == []
