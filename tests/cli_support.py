"""Run the command line in the test's process, and its workers in separate processes."""

import logging
import os
import subprocess
import sys
import textwrap
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest
from support import until

import stem_amqp
from stem_amqp.cli import main

ROOT = Path(stem_amqp.__file__).parents[1]


@dataclass(frozen=True)
class Ran:
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        """Standard output, parsed as one JSON document."""
        return orjson.loads(self.out)


class CommandLine:
    """Runs commands in a separate directory."""

    def __init__(self, capsys, folder):
        self._capsys = capsys
        self.folder = folder

    def __call__(self, *words) -> Ran:
        """Run a command in this process."""
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        captured = self._capsys.readouterr()
        return Ran(int(ended.value.code or 0), captured.out, captured.err)

    def write(self, name, text) -> Path:
        """Write a file, such as the module of an application."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    @contextmanager
    def process(self, *words):
        """Run a command in a separate process, which is killed at the end of the block."""
        log = self.folder / "log.txt"
        with log.open("a") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "stem_amqp", *map(str, words)],
                cwd=self.folder,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                stdout=file,
                stderr=file,
            )
            try:
                yield process
            finally:
                process.kill()
                process.wait(timeout=60)

    def log(self) -> str:
        """Return the output of the processes."""
        path = self.folder / "log.txt"
        return path.read_text() if path.exists() else ""


@contextmanager
def restored_log():
    """Undo what a command does to the log of this process: its levels, and its handlers on streams of the test."""
    loggers = [logging.getLogger(name) for name in (None, "aio_pika", "aiormq", "stem_amqp")]
    before = [(logger.level, logger.handlers.copy()) for logger in loggers]
    yield
    for logger, (level, handlers) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.handlers = handlers


@contextmanager
def command_line(capsys, monkeypatch, folder):
    """Yield a command line without outside settings, and remove its imported modules afterwards."""
    for name in [name for name in os.environ if name.startswith("STEM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with restored_log():
        yield CommandLine(capsys, folder)
    for name, module in list(sys.modules.items()):
        if str(folder) in (getattr(module, "__file__", None) or ""):
            del sys.modules[name]


@contextmanager
def worker(cli, *words, ready=1):
    """Run a worker of ``shop:stem`` during the block, which begins once the worker consumes."""
    before = cli.log().count("is ready")
    with cli.process("worker", "shop:stem", *words) as process:
        until(lambda: cli.log().count("is ready") >= before + ready, "the worker's start")
        yield process
