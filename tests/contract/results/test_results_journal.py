"""A package that brings a result backend of its own, found and used as an installed one is."""

import asyncio
import sys
import tomllib
from pathlib import Path

import pytest
from support import write_distribution

from stem_amqp import Stem
from stem_amqp.testing.backend_contract import BackendContract

PACKAGE = Path(__file__).parents[2] / "packages" / "stem_amqp_journal"


@pytest.fixture
def journal_url(tmp_path, monkeypatch):
    """Install the package, and give the URL of a journal."""
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
        """Give the URL of a journal."""
        return journal_url


async def test_an_application_keeps_its_results_in_the_journal(journal_url):
    """Producer, worker, lists and unique tasks use it through its URL alone."""
    stem = Stem(broker_url="memory://journal-application", backend_url=journal_url)

    @stem.task("double", unique="1h")
    async def double(number: int) -> int:
        return 2 * number

    async with stem:
        first, second = await double.enqueue(4), await double.enqueue(4)
        assert first.id == second.id
        async with stem.worker().running():
            assert await first.result(timeout=10) == 8
        assert [record.task_id for record in await stem.results.list()] == [first.id]


async def test_processes_that_write_at_once_agree_on_every_winner(journal_url, tmp_path):
    """Three processes claim fifty keys: each has one owner, whoever is asked, and no line is lost."""
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
    """Half a line is nobody's change: the next writer replaces it, and all before it is there."""
    path = tmp_path / "results.jsonl"
    stem = Stem(broker_url="memory://journal-crash", backend_url=journal_url)

    @stem.task("double")
    async def double(number: int) -> int:
        return 2 * number

    async with stem, stem.worker().running():
        before = await double.enqueue(1)
        assert await before.result(timeout=10) == 2
    whole = path.read_bytes()
    path.write_bytes(whole + b'["transition", 17')
    async with stem, stem.worker().running():
        assert (await stem.handle(before.id).status()).state == "succeeded"
        after = await double.enqueue(2)
        assert await after.result(timeout=10) == 4
    assert path.read_bytes().startswith(whole + b'["transition"')
    assert b'["transition", 17[' not in path.read_bytes()
    async with stem:
        handles = [stem.handle(handle.id) for handle in (before, after)]
        assert [await handle.result(timeout=1) for handle in handles] == [2, 4]
