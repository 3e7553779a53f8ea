"""Metrics of several worker processes under one supervisor, in a folder of mapped files.

A process and its successors after restarts use the same files: so counters go on where the process
before stopped, and the number of files does not grow with the number of restarts.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from stem_amqp.observability.metrics.prometheus import load_client

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""The variable that switches ``prometheus_client`` to its multiprocess mode when it is imported."""


def share_metrics(name: str) -> None:
    """Let this process write its metrics into the files of its name; before any metric is made.

    Args:
        name: such as ``w1``: the same for a process and its successors, and never for two at once.

    Raises:
        ConfigurationError: ``prometheus_client`` is not installed.
    """
    load_client()
    from prometheus_client import values  # noqa: PLC0415 an extra

    _remove_unreadable(Path(os.environ[FOLDER_VARIABLE]), name)
    values.ValueClass = values.MultiProcessValue(process_identifier(name))  # type: ignore[no-untyped-call]


def process_identifier(name: str) -> Callable[[], str | int]:
    """Return a function that returns a name in this process, and the process id in forked ones."""
    own = os.getpid()

    def identify() -> str | int:
        pid = os.getpid()
        return name if pid == own else pid

    return identify


def _remove_unreadable(folder: Path, name: str) -> None:
    """Remove files of a process that died while it wrote, if they cannot be read any more."""
    from prometheus_client.mmap_dict import MmapedDict  # noqa: PLC0415 an extra

    for file in folder.glob(f"*_{name}.db"):
        try:
            for _ in MmapedDict.read_all_values_from_file(str(file)):  # type: ignore[no-untyped-call]
                pass
        except Exception:  # noqa: BLE001 - whatever a broken file causes
            file.unlink(missing_ok=True)


def forget_gauges(folder: Path, name: str) -> None:
    """Remove the gauges of a process that has exited; its counters stay.

    Args:
        folder: the shared folder.
        name: the name of the process.
    """
    for file in folder.glob(f"gauge_live*_{name}.db"):
        with contextlib.suppress(OSError):
            file.unlink()


def forget_children(folder: Path) -> None:
    """Remove the gauges of exited processes that have no name: children of tasks, by their ids."""
    for file in folder.glob("gauge_live*_*.db"):
        pid = file.stem.rpartition("_")[2]
        if pid.isdecimal() and not Path(f"/proc/{pid}").exists() and Path("/proc/self").exists():
            with contextlib.suppress(OSError):
                file.unlink()
