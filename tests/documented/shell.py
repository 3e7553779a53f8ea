"""Execution of a page's commands, and comparison of their output with the page."""

import asyncio
import os
import re
import runpy
import subprocess
import sys
import time
import uuid
from pathlib import Path

from documented.commands import NOT_RUN, commands_of

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
ANY = "…"
READY = re.compile(r".* is ready: ").match


class Shell:
    """A shell in a page's folder, with its own namespace of a RabbitMQ."""

    def __init__(self, folder, broker_url):
        self.folder = folder
        self.namespace = f"t-{uuid.uuid4().hex[:8]}"
        self.settings = {"STEM_BROKER_URL": broker_url, "STEM_NAMESPACE": self.namespace}
        self._workers = []

    def run(self, command, expected):
        """Run a command; return how its output differs from the expected lines, or None.

        A worker runs in the background until the page ends; its log has to contain the lines.
        """
        [words, *others] = commands_of(command)
        if words[0] in NOT_RUN and words[0] != "python":
            return None
        assert not others, f"one command at a time: {command}"
        if words[:2] == ["stem-amqp", "worker"]:
            return self._begin(command, expected)
        ran = subprocess.run(
            self._line(command),
            shell=True,
            cwd=self.folder,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return differs(command, self._as_shown(ran.stdout), expected)

    def _begin(self, command, expected):
        log = self.folder / f"worker-{len(self._workers)}.log"
        with log.open("w") as file:
            process = subprocess.Popen(
                f"exec {self._line(command)}",
                shell=True,
                cwd=self.folder,
                env=self._environment(),
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        self._workers.append(process)
        deadline = time.monotonic() + PATIENCE
        while True:
            shown = self._as_shown(log.read_text())
            wrong = differs(command, shown, expected) if expected else not any(map(READY, shown))
            if not wrong or time.monotonic() > deadline or process.poll() is not None:
                return wrong
            time.sleep(0.02)

    def _line(self, command):
        return re.sub(r"^((?:[A-Z_]+=\S+ )*)(stem-amqp|python)\b", self._program, command)

    def _program(self, found):
        module = " -m stem_amqp" if found[2] == "stem-amqp" else ""
        return f"{found[1]}{sys.executable}{module}"

    def _environment(self):
        kept = {k: v for k, v in os.environ.items() if not k.startswith("STEM_")}
        paths = {"PYTHONPATH": f"{self.folder}:{ROOT}", "COLUMNS": "100", "NO_COLOR": "1"}
        return kept | paths | self.settings

    def _as_shown(self, output):
        return output.replace(self.namespace, "stem").splitlines()

    def close(self):
        """Stop the workers, and remove the namespace from the broker."""
        for process in self._workers:
            process.terminate()
        for process in self._workers:
            process.wait(PATIENCE)
        asyncio.run(self._remove())

    async def _remove(self):
        app = runpy.run_path(str(self.folder / "shop.py"))["stem"]
        app.reconfigure(provision="none", backend_url="memory://")
        async with app:
            await app.connected.transport.delete(app.blueprint.entities)


def differs(command, output, expected):
    """Return how output differs from the lines, in which `…` matches any text, or None.

    A line that is only `…` matches any number of lines.
    """
    parts = [
        r"(?:.*\n)*?"
        if line.strip() == ANY
        else ".*?".join(map(re.escape, line.split(ANY))) + r"\n"
        for line in expected
    ]
    text = "".join(f"{line.rstrip()}\n" for line in output)
    if re.fullmatch("".join(parts), text):
        return None
    return f"$ {command}\nprints\n{text}\nand the page says\n" + "\n".join(expected)
