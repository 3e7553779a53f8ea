"""The applications of this process, and exporters that receive the reports of all of them."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from weakref import WeakSet

from stem_amqp.observability.exporter import Exporter
from stem_amqp.observability.telemetry import Telemetry

_lock = threading.Lock()
_installed: list[Exporter] = []
_applications: WeakSet[Telemetry] = WeakSet()


def install_exporter(exporter: Exporter) -> None:
    """Add an exporter to every application of this process, including those that are created later.

    For instrumentation that does not know the applications, such as that of an error tracker.

    Args:
        exporter: the exporter; one that is installed already is not added again.

    Raises:
        ConfigurationError: the object is not an exporter.
    """
    with _lock:
        Telemetry().add(exporter)  # refuses what is not an exporter
        if exporter not in _installed:
            _installed.append(exporter)
        for telemetry in tuple(_applications):
            telemetry.add(exporter)


def uninstall_exporter(exporter: Exporter) -> None:
    """Remove an exporter from every application of this process; does nothing if it is not there."""
    with _lock:
        _installed[:] = [one for one in _installed if one is not exporter]
        for telemetry in tuple(_applications):
            telemetry.remove(exporter)


def applications() -> tuple[Telemetry, ...]:
    """Return the telemetry of every application of this process."""
    with _lock:
        return tuple(_applications)


def application_telemetry(exporters: Iterable[Exporter]) -> Telemetry:
    """Return the telemetry of a new application: the installed exporters, then those given.

    Args:
        exporters: the application's own exporters.

    Raises:
        ConfigurationError: an object is not an exporter.
    """
    telemetry = Telemetry()
    with _lock:
        for exporter in (*_installed, *exporters):
            telemetry.add(exporter)
        _applications.add(telemetry)
    return telemetry
