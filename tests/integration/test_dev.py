"""Test ``stem-amqp dev`` as a whole: it runs new code, and leaves nothing behind."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import uuid

import pytest
from cli_support import ROOT
from support import eventually

from stem_amqp import Stem
from stem_amqp.errors import BrokerUnavailableError
from stem_amqp.servers.rabbitmq.handshake import broker_version
from stem_amqp.servers.rabbitmq.private import find_programs

SHOP = """
from stem_amqp import Stem

stem = Stem()

@stem.task("shop.answer")
async def answer() -> str:
    return {answer!r}
"""


def processes_naming(text):
    """Return the command lines of processes that contain a text."""
    listing = subprocess.run(
        ["ps", "-eo", "stat=,args="], check=True, capture_output=True, text=True
    ).stdout
    return [
        line for line in listing.splitlines() if text in line and not line.lstrip().startswith("Z")
    ]


def in_shell(line, folder):
    """Run a line in a shell, like a user in another terminal."""
    done = subprocess.run(
        ["sh", "-c", line], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def exists(folder):
    """Return whether a folder exists."""
    return os.path.lexists(folder)


@pytest.mark.timeout(300)
async def test_new_code_runs_and_nothing_is_left(tmp_path):
    """The worker waits until an error in the code is fixed; Ctrl-C ends worker and broker."""
    try:
        find_programs()
    except BrokerUnavailableError as error:
        pytest.skip(str(error))
    module = f"shop_{uuid.uuid4().hex[:8]}"
    code = tmp_path / f"{module}.py"
    code.write_text(SHOP.format(answer="old"))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("STEM_")}
    dev = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "stem_amqp", "dev", f"{module}:stem", "--no-management"),
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    seen = []

    async def until(text):
        async for line in dev.stdout:
            seen.append(line.decode())
            if text in seen[-1]:
                return
        pytest.fail(f"{text!r} did not come:\n{''.join(seen)}")

    try:
        await until("Ctrl-C stops")
        file = re.search(r"for others  \. (\S+)", "".join(seen))[1]
        url = in_shell(f". {file} && echo $STEM_BROKER_URL", tmp_path)
        folder = re.search(r"a private one in (\S+),", "".join(seen))[1]
        await until("is ready")
        async with Stem(broker_url=url) as producer:
            assert await (await producer.enqueue("shop.answer")).result(timeout=60) == "old"
            code.write_text("def broken(:\n")
            await until("SyntaxError")
            code.write_text(SHOP.format(answer="new"))
            await until("is ready")
            assert await (await producer.enqueue("shop.answer")).result(timeout=60) == "new"
        dev.send_signal(signal.SIGINT)
        rest = (await dev.stdout.read()).decode()
        assert await dev.wait() == 0, rest
        assert "Traceback" not in "".join(seen) + rest
    finally:
        if dev.returncode is None:
            dev.kill()
    assert not exists(folder)
    assert not exists(tmp_path / file)
    await eventually(lambda: not processes_naming(folder), "the end of the broker")
    assert processes_naming(module) == []
    with pytest.raises(BrokerUnavailableError):
        broker_version(url)
