"""A page while it is run: its namespace, its folder, its event loop, its broker."""

import asyncio
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from support import eventually

from documented.shell import Shell

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0


class Page:
    """The state that the blocks of a page share.

    ``Stem()`` uses the page's own in-memory broker, and modules that the page shows can be
    imported. Coroutines run in an event loop that keeps running between the blocks.
    """

    def __init__(self) -> None:
        self._environment = pytest.MonkeyPatch()
        self._temporary = tempfile.TemporaryDirectory(prefix="page-")
        self.folder = Path(self._temporary.name)
        self._modules = set(sys.modules)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="page")
        self._thread.start()
        self._kept = []
        self.shell = None
        # Sybil's own namespace is not used: pytest's fixtures take names such as `request` there
        self.namespace = {
            "__name__": "__page__",
            "page": self,
            "keep": self.keep,
            "run_worker": self.run_worker,
            "eventually": eventually,
            "until": until,
        }
        for name in [name for name in os.environ if name.startswith("STEM_")]:
            if not name.startswith("STEM_TEST_"):
                self._environment.delenv(name)
        self._environment.setenv("STEM_BROKER_URL", f"memory://{self.folder.name}")
        self._environment.setenv("STEM_BACKEND_URL", f"memory://{self.folder.name}")
        self._environment.syspath_prepend(str(self.folder))
        self._environment.chdir(self.folder)

    def write(self, name, text):
        """Write a file of the page's folder, and return its path."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def copy(self, name):
        """Copy a file of the repository into the page's folder."""
        return self.write(Path(name).name, (ROOT / name).read_text())

    def setenv(self, name, value):
        """Set a variable until the page ends."""
        self._environment.setenv(name, value)

    def script(self, text):
        """Run a separate program in the page's folder, for code that changes its whole process."""
        ran = subprocess.run(
            [sys.executable, self.write("script.py", text)],
            env=os.environ | {"PYTHONPATH": f"{self.folder}:{ROOT}"},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr

    def forget(self, file):
        """Remove a module, so that it is imported again."""
        sys.modules.pop(Path(file).stem, None)

    def await_(self, coroutine, timeout=PATIENCE):
        """Run a coroutine in the page's event loop."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result(timeout)
        except TimeoutError:
            future.cancel()
            raise

    async def keep(self, context):
        """Enter a context, such as an application, for the rest of the page."""
        entered, over = asyncio.Event(), asyncio.Event()

        async def hold():
            async with context:
                entered.set()
                await over.wait()

        holding = asyncio.create_task(hold())
        waiting = asyncio.create_task(entered.wait())
        await asyncio.wait([holding, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if holding.done():
            await holding
        self._kept.append((holding, over))

    async def run_worker(self, stem, *queues):
        """Connect an application and run a worker for the rest of the page."""
        await self.keep(stem)
        await self.keep(stem.worker(queues or None).running())

    async def _release(self):
        while self._kept:
            holding, over = self._kept.pop()
            over.set()
            await holding

    def open_shell(self):
        """Run the following commands of the page on RabbitMQ, in a namespace of their own."""
        self.shell = Shell(self.folder, self.rabbitmq_url())
        for name, value in self.shell.settings.items():
            self._environment.setenv(name, value)
        self._environment.delenv("STEM_BACKEND_URL")

    def close(self):
        """End everything that the page has started."""
        try:
            self.await_(self._release())
            if self.shell is not None:
                self.shell.close()
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(PATIENCE)
            self._loop.close()
            self._environment.undo()
            for name in set(sys.modules) - self._modules:
                if str(self.folder) in str(getattr(sys.modules[name], "__file__", "")):
                    del sys.modules[name]
            self._temporary.cleanup()


async def until(handle, state):
    """Wait until a task is in a state."""

    async def is_there():
        record = await handle.status()
        return record is not None and record.state == state

    await eventually(is_there, f"{state} of {handle}")


def open_page(namespace):
    """Open a page, as Sybil's set-up."""
    page = Page()
    namespace["page"] = page


def close_page(namespace):
    """Close a page, as Sybil's teardown."""
    namespace["page"].close()
