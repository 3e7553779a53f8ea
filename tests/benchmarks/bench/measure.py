"""Measures one case of one contender, once, in a process of its own; prints one line of JSON.

    python -m bench.measure CONTENDER CASE

The run comes in the environment, from `bench.runner`.
"""

from __future__ import annotations

import asyncio
import json
import sys

import uvloop

from bench import contenders
from bench.bench import Bench
from bench.cases import CASES
from bench.run import Run


def main() -> None:
    """Measure what the command line says."""
    contender, case = contenders.load(sys.argv[1]), CASES[sys.argv[2]]
    factory = uvloop.new_event_loop if contender.loop == "uvloop" else None
    with asyncio.Runner(loop_factory=factory) as runner:
        values = runner.run(case.measure(Bench(contender, Run.current())))
    print(json.dumps(dict(values)))


if __name__ == "__main__":
    main()
