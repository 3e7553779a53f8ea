"""Running the command line inside the test's process, and its workers in processes of their own."""

import os
import subprocess
import sys
import textwrap
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest

import stem_amqp
from stem_amqp.cli import main

ROOT = Path(stem_amqp.__file__).parents[1]


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        """Standard output as the one JSON document that it is."""
        return orjson.loads(self.out)


class CommandLine:
    """Runs commands in a directory of their own."""

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
        """Run a command in a process of its own, which is killed at the end of the block."""
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
                process.wait(timeout=20)

    def log(self) -> str:
        """What the processes wrote."""
        path = self.folder / "log.txt"
        return path.read_text() if path.exists() else ""


@contextmanager
def command_line(capsys, monkeypatch, folder):
    """Give a command line without settings from outside, whose imports are forgotten afterwards."""
    for name in [name for name in os.environ if name.startswith("STEM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield CommandLine(capsys, folder)
    for name, module in list(sys.modules.items()):
        if str(folder) in (getattr(module, "__file__", None) or ""):
            del sys.modules[name]
