"""A package with its own result backend, found and used like an installed one."""

import asyncio
import sys
import tomllib
from pathlib import Path

import orjson
import pytest
import spoiled
from support import write_distribution

from stem_amqp import Stem
from stem_amqp.testing.backend_contract import BackendContract

PACKAGE = Path(__file__).parents[2] / "packages" / "stem_amqp_journal"


@pytest.fixture
def journal_url(tmp_path, monkeypatch):
    """Install the package, and return the URL of a journal."""
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    metadata = tmp_path / "installed"
    metadata.mkdir()
    write_distribution(metadata, project["name"], project["entry-points"]["stem_amqp.backends"])
    monkeypatch.syspath_prepend(str(metadata))
    monkeypatch.syspath_prepend(str(PACKAGE))
    return f"journal://{tmp_path}/results.jsonl"


class TestJournal(BackendContract):
    """The backend does what the framework relies on."""

    @pytest.fixture
    def backend_url(self, journal_url):
        """Return the URL of a journal."""
        return journal_url

    @pytest.fixture
    def spoils(self, sides, journal_url):
        """Return lines that other programs may have written."""
        return spoiled.of_journal(Path(journal_url.removeprefix("journal://")))


async def test_an_application_keeps_its_results_in_the_journal(journal_url):
    """Producer, worker, lists and unique tasks need only its URL."""
    stem = Stem(broker_url="memory://journal-application", backend_url=journal_url)

    @stem.task("double", unique="1h")
    async def double(number: int) -> int:
        return 2 * number

    async with stem:
        first, second = await double.enqueue(4), await double.enqueue(4)
        assert first.id == second.id
        async with stem.worker().running():
            assert await first.result(timeout=60) == 8
        assert [record.task_id for record in await stem.results.list()] == [first.id]


async def test_processes_that_write_at_once_agree_on_every_winner(journal_url, tmp_path):
    """Three processes claim fifty keys: each has one owner in all of them, and no line is lost."""
    program = """
import asyncio, sys
from pathlib import Path
from stem_amqp.clock import SystemClock
from stem_amqp_journal.backend import JournalBackend

async def main(path, name):
    backend = JournalBackend(Path(path), SystemClock())
    await backend.open()
    owners = [(await backend.claim_key(f"k{n}", name, ttl=600)).owner for n in range(50)]
    await backend.close()
    print(*owners)

asyncio.run(main(*sys.argv[1:]))
"""
    path = tmp_path / "results.jsonl"

    async def process(name):
        running = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", program, path, name),
            env={"PYTHONPATH": str(PACKAGE)},
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await running.communicate()
        assert running.returncode == 0
        return output.decode().split()

    answers = await asyncio.gather(*(process(f"process-{n}") for n in range(3)))
    assert len(answers[0]) == 50
    assert answers[1:] == answers[:1] * 2
    assert path.read_bytes().count(b"\n") == 150


async def test_what_a_crash_has_left_of_a_line_is_passed_over(journal_url, tmp_path):
    """The next writer replaces an incomplete line, and all earlier lines are kept."""
    path = tmp_path / "results.jsonl"
    stem = Stem(broker_url="memory://journal-crash", backend_url=journal_url)

    @stem.task("double")
    async def double(number: int) -> int:
        return 2 * number

    async with stem, stem.worker().running():
        before = await double.enqueue(1)
        assert await before.result(timeout=60) == 2
    whole = path.read_bytes()
    path.write_bytes(whole + b'["transition", 17')
    async with stem, stem.worker().running():
        assert (await stem.handle(before.id).status()).state == "succeeded"
        after = await double.enqueue(2)
        assert await after.result(timeout=60) == 4
    after_whole = path.read_bytes().removeprefix(whole)
    assert len(after_whole) < len(path.read_bytes())
    assert all(isinstance(orjson.loads(line), list) for line in after_whole.splitlines())
    async with stem:
        handles = [stem.handle(handle.id) for handle in (before, after)]
        assert [await handle.result(timeout=1) for handle in handles] == [2, 4]
