"""Test that each example runs by itself, and prints the output stated at its end."""

import asyncio
import os
import runpy
import sys
import uuid
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = sorted(EXAMPLES.glob("[0-9][0-9]_*.py"))
MARK = "# Output:\n"
WITHOUT_BROKER = {"08_testing"}
APART = {"11_processes", "12_django"}
"""Examples that configure the process in which they are imported."""
LONGEST = 75


def expected(file):
    """Return the output that an example states."""
    lines = file.read_text().rpartition(MARK)[2].splitlines()
    return "".join(line.removeprefix("# ").removeprefix("#") + "\n" for line in lines)


async def run(file, environment):
    """Run an example like a user, and return its output, its errors and its exit code."""
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
    """Delete the entities that an example declared."""
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
    """Delete the entities that an example declared, with the current environment variables."""
    app = runpy.run_path(str(file))["stem"]
    app.reconfigure(provision="none")
    async with app:
        await app.connected.transport.delete(app.blueprint.entities)


def test_there_are_examples_and_each_says_what_it_prints():
    """Each example is a short file with a docstring, and states an output that is not empty."""
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
    """The example runs on RabbitMQ in a separate namespace."""
    environment = {
        "STEM_BROKER_URL": stem_broker_url,
        "STEM_NAMESPACE": f"t-{uuid.uuid4().hex[:8]}",
    }
    try:
        output, errors, code = await run(file, environment)
        assert (output, code) == (expected(file), 0), errors
        # A failed task is logged with its traceback; any other one is a mistake of the example
        assert errors.count("Traceback (most recent call last)") == errors.count(
            " is dead-lettered to "
        ), errors
    finally:
        await remove(file, environment, monkeypatch)


@pytest.mark.parametrize("name", sorted(WITHOUT_BROKER))
async def test_an_example_that_needs_no_broker_prints_what_it_says(name):
    """The example runs in memory, in any directory."""
    nowhere = {"STEM_BROKER_URL": "amqp://nowhere.invalid/"}
    output, errors, code = await run(EXAMPLES / f"{name}.py", nowhere)
    assert (output, code) == (expected(EXAMPLES / f"{name}.py"), 0), errors


async def test_the_tests_of_an_example_pass():
    """They pass with the plugin that users have, and with warnings as errors."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"),
        cwd=EXAMPLES / "testing",
        env={k: v for k, v in os.environ.items() if not k.startswith("STEM_")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output = (await process.communicate())[0].decode()
    assert (process.returncode, "6 passed" in output) == (0, True), output
