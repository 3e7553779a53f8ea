"""Measures one case of one contender, once, in a process of its own; prints one line of JSON.

    python -m bench.measure CONTENDER CASE

The run comes in the environment, from `bench.runner`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import traceback
from typing import Any

from bench import contenders, loops
from bench.bench import Bench
from bench.cases import CASES
from bench.contender import UnsupportedError
from bench.run import Run


def main() -> None:
    """Measure what the command line says."""
    contender, case = contenders.load(sys.argv[1]), CASES[sys.argv[2]]
    said: dict[str, Any]
    try:
        with asyncio.Runner(loop_factory=loops.factory(contender.loop)) as runner:
            said = {"values": dict(runner.run(case.measure(Bench(contender, Run.current()))))}
    except UnsupportedError as why:
        said = {"unsupported": str(why)}
    except Exception as error:  # noqa: BLE001 - whatever a contender raises belongs in the report
        traceback.print_exc()
        said = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(said))


if __name__ == "__main__":
    main()
