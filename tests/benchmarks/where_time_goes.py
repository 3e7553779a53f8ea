"""Profile a worker and a producer by sampling, and print each step's share of a task's time.

Needs py-spy (``make bench`` installs it), which samples another process some hundred times a
second without slowing it down. Each sample counts for the innermost function of stem-amqp on the
stack, or for the code outside of it.
"""

import argparse
import asyncio
import collections
import os
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

from stem_amqp import Stem

APPLICATION = """
import asyncio, os, signal
from stem_amqp import Stem

stem = Stem()
left = int(os.environ["TASKS"])

@stem.task("noop", queue="figures", ignore_result="results" not in os.environ)
async def noop(number: int) -> None:
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGTERM)

async def produce():
    async with stem:
        await stem.enqueue_many(noop.prepare(number) for number in range(left))

if __name__ == "__main__":
    try:
        import uvloop
    except ImportError:
        asyncio.run(produce())
    else:
        uvloop.run(produce())
"""

STEPS = (
    ("socket and frames", ("amqp/wire", "amqp/frames", "amqp/port", "amqp/session")),
    ("message, as AMQP", ("amqp/content", "amqp/properties", "amqp/delivery")),
    ("message, as JSON", ("stem_amqp/messages", "stem_amqp/clock")),
    (
        "arguments",
        (
            "stem_amqp/tasks/arguments",
            "stem_amqp/tasks/definition",
            "stem_amqp/tasks/codec",
            "stem_amqp/task.py",
        ),
    ),
    ("publish and confirm", ("amqp/publisher", "amqp/confirms", "amqp/publishing_channels")),
    ("compose the call", ("stem_amqp/producer", "stem_amqp/app", "stem_amqp/tasks")),
    ("settle", ("worker/settle", "worker/follow_up", "amqp/settler")),
    ("results", ("stem_amqp/results",)),
    ("signals and log", ("worker/report", "stem_amqp/signals")),
    ("gate, context, run", ("stem_amqp/worker", "stem_amqp/context")),
)
ELSEWHERE = ("the task itself", "event loop and libraries")


def step_of(stack: str) -> str:
    """Return the step of a stack of frames, outermost first."""
    for frame in reversed(stack.split(";")):
        for step, places in STEPS:
            if any(place in frame for place in places):
                return step
        if "working.py" in frame and "<module>" not in frame:
            return ELSEWHERE[0]
    return ELSEWHERE[1]


def shares(raw: str) -> dict[str, float]:
    """Return each step's share of the samples.

    Args:
        raw: py-spy's folded stacks, one with its count per line.
    """
    counts: collections.Counter[str] = collections.Counter()
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        if "importlib" not in stack:  # the start is measured elsewhere
            counts[step_of(stack)] += int(count)
    return {step: count / counts.total() for step, count in counts.most_common()}


def profiled(command: list[str], folder: str, environment: dict[str, str]) -> str:
    """Run a command under py-spy, and return its folded stacks."""
    output = Path(folder, "stacks")
    spy = [str(Path(sys.executable).with_name("py-spy")), "record", "--format", "raw"]
    options = ["--rate", "400", "--output", str(output), "--", sys.executable]
    subprocess.run(
        [*spy, *options, *command], cwd=folder, env=environment, check=True, capture_output=True
    )
    return output.read_text()


def measure(tasks: int, backend: str) -> None:
    """Profile a producer of a number of tasks, and then the worker that drains them."""
    namespace = f"figures-{uuid.uuid4().hex[:6]}"
    stem = Stem(namespace=namespace, backend_url="memory://none")
    stem.task("noop", queue="figures")(lambda number: None)
    changes = {"STEM_NAMESPACE": namespace, "STEM_BACKEND_URL": backend, "TASKS": str(tasks)}
    environment = os.environ | changes
    if backend != "memory://none":
        environment["results"] = "1"
    worker = ["-m", "stem_amqp", "worker", "working:stem", "--concurrency", "100"]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "working.py").write_text(APPLICATION)
        for title, command in (("producer", ["working.py"]), ("worker", worker)):
            print(f"{title}, {tasks} no-op tasks, results: {backend}")
            for step, share in shares(profiled(command, folder, environment)).items():
                print(f"  {share:6.1%}  {step}")

    async def clean_up() -> None:
        async with stem:
            await stem.connected.transport.delete(stem.blueprint.entities)

    asyncio.run(clean_up())


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=60000)
    parser.add_argument("--backend", default="memory://none")
    arguments = parser.parse_args()
    measure(arguments.tasks, arguments.backend)


if __name__ == "__main__":
    main()
