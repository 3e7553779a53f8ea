"""What it was measured on: the machine, the broker and the versions."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.contender import Contender


@dataclass(frozen=True, kw_only=True, slots=True)
class Conditions:
    """The head of a report.

    Args:
        cpu: the processor's model.
        cores: how many of them.
        python: its version.
        system: the operating system.
        broker: RabbitMQ's version.
        rounds: rounds of measurements.
        scale: what the sizes were multiplied with.
        versions: distribution to version.
        durability: contender to how it was made durable.
        settings: contender to what was set, and why.
    """

    cpu: str
    cores: int
    python: str
    system: str
    broker: str
    rounds: int
    scale: float
    versions: dict[str, str]
    durability: dict[str, str]
    settings: dict[str, tuple[str, ...]]


def conditions(
    contenders: Iterable[Contender], *, broker: str, rounds: int, scale: float
) -> Conditions:
    """Look at this machine and at what is installed."""
    taking_part = list(contenders)
    packages = dict.fromkeys(name for one in taking_part for name in one.packages)
    return Conditions(
        cpu=_cpu(),
        cores=os.cpu_count() or 0,
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()}",
        broker=f"RabbitMQ {broker}, one node, on the same machine",
        rounds=rounds,
        scale=scale,
        versions={name: version(name) for name in packages},
        durability={one.name: one.durability for one in taking_part},
        settings={one.name: one.settings for one in taking_part},
    )


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
