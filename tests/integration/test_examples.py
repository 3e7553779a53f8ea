"""Each example runs by itself and prints what stands at its end."""

import asyncio
import os
import runpy
import sys
import uuid
from pathlib import Path

import pytest

from stem_amqp.assembly import entities_of

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = sorted(EXAMPLES.glob("[0-9][0-9]_*.py"))
MARK = "# Output:\n"
WITHOUT_BROKER = {"08_testing"}
APART = {"12_django"}
"""They configure the process that they are read in."""
LONGEST = 75


def expected(file):
    """Return what an example says that it prints."""
    lines = file.read_text().rpartition(MARK)[2].splitlines()
    return "".join(line.removeprefix("# ").removeprefix("#") + "\n" for line in lines)


async def run(file, environment):
    """Run an example as people do, and return what it printed, its errors and its exit code."""
    cleaned = {k: v for k, v in os.environ.items() if not k.startswith("STEM_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(file),
        env=cleaned | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    return output.decode(), errors.decode(), process.returncode


async def remove(file, environment, monkeypatch):
    """Delete what an example declared."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if file.stem in APART:
        code = f"import asyncio, test_examples; asyncio.run(test_examples.delete({str(file)!r}))"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, cwd=Path(__file__).parent
        )
        assert await process.wait() == 0
    else:
        await delete(file)


async def delete(file):
    """Delete what an example declared, by the variables that are set."""
    app = runpy.run_path(str(file))["stem"]
    app.settings = app.settings.replace(provision="none")
    async with app:
        await app.connected.transport.delete(entities_of(app))


def test_there_are_examples_and_each_says_what_it_prints():
    """A short file with a docstring, and an output that is not empty."""
    assert len(FILES) >= 8
    for file in FILES:
        text = file.read_text()
        assert text.startswith('"""'), file.name
        assert expected(file).strip(), file.name
        assert len(text.splitlines()) <= LONGEST, file.name


@pytest.mark.parametrize(
    "file", [file for file in FILES if file.stem not in WITHOUT_BROKER], ids=lambda file: file.stem
)
async def test_an_example_prints_what_it_says(file, stem_broker_url, monkeypatch):
    """On a RabbitMQ, in a namespace of its own."""
    environment = {
        "STEM_BROKER_URL": stem_broker_url,
        "STEM_NAMESPACE": f"t-{uuid.uuid4().hex[:8]}",
    }
    try:
        output, errors, code = await run(file, environment)
        assert (output, code) == (expected(file), 0), errors
        assert "Traceback" not in errors
    finally:
        await remove(file, environment, monkeypatch)


@pytest.mark.parametrize("name", sorted(WITHOUT_BROKER))
async def test_an_example_that_needs_no_broker_prints_what_it_says(name):
    """It runs in memory, wherever it is."""
    nowhere = {"STEM_BROKER_URL": "amqp://nowhere.invalid/"}
    output, errors, code = await run(EXAMPLES / f"{name}.py", nowhere)
    assert (output, code) == (expected(EXAMPLES / f"{name}.py"), 0), errors


async def test_the_tests_of_an_example_pass():
    """With the plugin as users have it, and a warning is an error."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"),
        cwd=EXAMPLES / "testing",
        env={k: v for k, v in os.environ.items() if not k.startswith("STEM_")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output = (await process.communicate())[0].decode()
    assert (process.returncode, "6 passed" in output) == (0, True), output
