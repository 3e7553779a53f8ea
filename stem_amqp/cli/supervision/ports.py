"""The metrics port and the health port of a worker, of one process or of several, or of a scheduler."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from stem_amqp.app import Stem
from stem_amqp.errors import ConfigurationError, StemError
from stem_amqp.observability.http import Page, PortUnavailableError, serve
from stem_amqp.observability.metrics import (
    FOLDER_VARIABLE,
    PrometheusExporter,
    add_prometheus,
    forget_children,
    forget_gauges,
    page_of,
    page_of_folder,
    share_metrics,
)
from stem_amqp.observability.probes import Probe, SharedState, pages_of, write_state
from stem_amqp.settings import Settings

log = logging.getLogger("stem_amqp.cli")


def port_settings(metrics: int | None, health: int | None, address: str | None) -> dict[str, Any]:
    """Return the settings of the ports.

    Args:
        metrics: the metrics port; None as the environment says.
        health: the health port.
        address: their address.
    """
    return {"metrics_port": metrics, "health_port": health, "http_address": address}


@contextmanager
def observed(stem: Stem, shared: Path | None) -> Iterator[None]:
    """Serve the ports of a worker process during a block; call it in the event loop.

    A port that cannot be served is logged as an error, and the worker goes on without it.

    Args:
        stem: the application.
        shared: for a process of a supervisor, which serves the ports: its name in their shared folder.
    """
    settings = stem.settings
    with ExitStack() as stack:
        probe = Probe()
        if settings.health_port:
            stem.add_exporter(probe)
            probe.start()
            stack.callback(probe.stop)
            if shared is not None:
                stack.enter_context(write_state(_state_file(shared), probe.state))
        if shared is None:
            _serve(settings, stack, lambda: page_of(_add_prometheus(stem)), pages_of(probe))
        elif settings.metrics_port:
            _add_prometheus(stem)
        yield


@contextmanager
def metrics_served(stem: Stem) -> Iterator[None]:
    """Serve the metrics port alone during a block, for a process without a worker.

    A port that cannot be served is logged as an error, and the process goes on without it.

    Args:
        stem: the application.
    """
    settings = stem.settings.replace(health_port=0)
    with ExitStack() as stack:
        _serve(settings, stack, lambda: page_of(_add_prometheus(stem)), {})
        yield


def _add_prometheus(stem: Stem) -> PrometheusExporter:
    return add_prometheus(stem.blueprint.telemetry)


def _state_file(shared: Path) -> Path:
    return shared.with_name(f"{shared.name}.json")


def _serve(
    settings: Settings,
    stack: ExitStack,
    metrics_page: Callable[[], Page],
    probes: dict[str, Page],
) -> tuple[bool, bool]:
    """Serve the ports of the settings until the stack is closed.

    Returns:
        Whether metrics and whether probes are served.
    """
    pages: dict[int, dict[str, Page]] = {}
    if settings.metrics_port:
        try:
            pages[settings.metrics_port] = {"/metrics": metrics_page()}
        except ConfigurationError as error:
            log.error("no metrics are served: %s", _one_line(error))  # noqa: TRY400
    if settings.health_port:
        pages.setdefault(settings.health_port, {}).update(probes)
    served: set[str] = set()
    for port, some in pages.items():
        try:
            stack.enter_context(serve(settings.http_address, port, some))
        except PortUnavailableError as error:
            log.error("%s are not served: %s", " ".join(some), _one_line(error))  # noqa: TRY400
        else:
            log.info("serving %s on port %d of %s", " ".join(some), port, settings.http_address)
            served |= set(some)
    return "/metrics" in served, "/livez" in served


def _one_line(error: StemError) -> str:
    return " ".join(str(error).split())


class SharedPorts:
    """The ports of several worker processes, which their supervisor serves.

    The processes share a folder: each writes its metrics and its state there.

    Args:
        settings: the settings.
        processes: the number of processes.
    """

    def __init__(self, settings: Settings, processes: int) -> None:
        self._settings = settings
        self._names = [f"w{number}" for number in range(1, processes + 1)]
        self._folder: Path | None = None
        self._metrics = self._health = False
        self.pids: Callable[[], Sequence[int | None]] = lambda: [0] * processes

    @contextmanager
    def served(self) -> Iterator[None]:
        """Serve the ports during a block, and remove the folder at its end."""
        if not self._settings.metrics_port and not self._settings.health_port:
            yield
            return
        with ExitStack() as stack:
            try:
                folder = self._folder = Path(tempfile.mkdtemp(prefix="stem-amqp-"))
            except OSError as error:
                log.error(  # noqa: TRY400
                    "neither metrics nor probes are served: the processes need a folder to share, and"
                    " none can be made: %s; set TMPDIR",
                    error,
                )
                yield
                return
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            files = [_state_file(folder / name) for name in self._names]
            state = SharedState(files, self._running)
            self._metrics, self._health = _serve(
                self._settings,
                stack,
                lambda: page_of_folder(folder, lambda: forget_children(folder)),
                pages_of(state),
            )
            if self._metrics:
                os.environ[FOLDER_VARIABLE] = str(folder)  # for the processes
                stack.callback(os.environ.pop, FOLDER_VARIABLE, None)
            yield

    def _running(self) -> Sequence[int | None]:
        return self.pids()

    def arguments(self, number: int) -> list[str]:
        """Return what is added to the command line of a process.

        Args:
            number: its number, from 1 on.
        """
        metrics = self._settings.metrics_port if self._metrics else 0
        health = self._settings.health_port if self._health else 0
        words = ["--metrics-port", str(metrics), "--health-port", str(health)]
        if self._folder is not None:
            words += ["--shared", str(self._folder / self._names[number - 1])]
        return words

    def exited(self, number: int) -> None:
        """Forget what is valid only while a process runs.

        Args:
            number: the number of a process that has exited.
        """
        if self._folder is not None:
            forget_gauges(self._folder, self._names[number - 1])
            with contextlib.suppress(OSError):
                _state_file(self._folder / self._names[number - 1]).unlink()


def join_shared(shared: Path | None) -> None:
    """Prepare a process of a supervisor, before the application is imported: it may make metrics.

    Args:
        shared: its name in the shared folder; None for a process without a supervisor.
    """
    if shared is not None and os.environ.get(FOLDER_VARIABLE) == str(shared.parent):
        share_metrics(shared.name)
