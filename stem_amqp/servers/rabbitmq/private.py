"""A private RabbitMQ in a temporary folder, on free ports of 127.0.0.1; it is deleted afterwards."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from stem_amqp.errors import BrokerUnavailableError
from stem_amqp.servers.keeping import (
    end_of_log,
    free_ports,
    is_free,
    search_path,
    start_keeper,
    stop_keeper,
)
from stem_amqp.servers.rabbitmq.handshake import (
    MANAGEMENT_OFFSET,
    management_answers,
    wait_for_broker,
)

SCRIPTS = (
    "/usr/lib/rabbitmq/bin/rabbitmq-server",
    "/usr/local/opt/rabbitmq/sbin/rabbitmq-server",
    "/opt/homebrew/opt/rabbitmq/sbin/rabbitmq-server",
    "/opt/rabbitmq/sbin/rabbitmq-server",
)
"""RabbitMQ's own start scripts. Debian's /usr/sbin/rabbitmq-server is a wrapper that changes user."""
SERVER_VARIABLE = "STEM_TEST_RABBITMQ_SERVER"
"""Names a folder with another release's ``rabbitmq-server`` and ``rabbitmqctl``."""
_ATTEMPTS = 20
"""Attempts to find two free ports that differ by `MANAGEMENT_OFFSET`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PrivateRabbitMQ:
    """A broker that belongs to this process.

    Args:
        url: its AMQP URL.
        management_url: its management API (guest, guest), if it was asked for.
        version: such as ``3.10.8``.
        folder: its data and its log, ``server.log``; deleted when it stops.
        keeper_pid: the process to which the broker's processes belong.
        started_in: seconds from the start to the first AMQP handshake.
    """

    url: str
    management_url: str | None
    version: str
    folder: Path
    keeper_pid: int
    started_in: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Programs:
    """What is needed to start a broker.

    Args:
        server: RabbitMQ's own start script. ``rabbitmqctl`` stands beside it.
        epmd: Erlang's port mapper.
    """

    server: Path
    epmd: Path


def find_programs() -> Programs:
    """Find an installed RabbitMQ, or the one in the folder of ``STEM_TEST_RABBITMQ_SERVER``.

    Raises:
        BrokerUnavailableError: none is installed, or that folder has none; the message is the
            reason alone.
    """
    server = _named_server() or _installed_server()
    beside = server.with_name("epmd")
    if os.access(beside, os.X_OK):
        return Programs(server=server, epmd=beside)
    epmd = shutil.which("epmd", path=search_path()) or next(
        (str(path) for path in Path("/usr/lib/erlang").glob("erts-*/bin/epmd")), None
    )
    if epmd is None:
        raise BrokerUnavailableError(f"{server} exists, but Erlang's epmd does not")
    return Programs(server=server, epmd=Path(epmd))


def _named_server() -> Path | None:
    folder = os.environ.get(SERVER_VARIABLE)
    if not folder:
        return None
    server = Path(folder).absolute() / "rabbitmq-server"
    for program in (server, server.with_name("rabbitmqctl")):
        if not os.access(program, os.X_OK):
            raise BrokerUnavailableError(
                f"{SERVER_VARIABLE} is {folder}, and there is no program {program}"
            )
    return server


def _installed_server() -> Path:
    candidates = [Path(script) for script in SCRIPTS]
    on_path = shutil.which("rabbitmq-server")
    if on_path is not None and Path(on_path) != Path("/usr/sbin/rabbitmq-server"):
        candidates.append(Path(on_path))
    server = next((path for path in candidates if os.access(path, os.X_OK)), None)
    if server is None:
        raise BrokerUnavailableError("no rabbitmq-server is installed")
    return server


@contextmanager
def private_rabbitmq(
    *, management: bool = False, start_timeout: float = 90.0, settings: Sequence[str] = ()
) -> Iterator[PrivateRabbitMQ]:
    """Start a broker, and end it and all its processes at the end of the block.

    It also ends when this process dies, however it dies. Works as root and as an ordinary user.

    Args:
        management: enable the management plugin, which makes the start slower.
        start_timeout: seconds until the broker must answer.
        settings: further lines of its rabbitmq.conf, such as a listener with TLS.

    Raises:
        BrokerUnavailableError: RabbitMQ is not installed or does not start; the message has the
            end of its log.
    """
    programs = find_programs()
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="stem-rabbitmq-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        distribution, epmd = free_ports(2)
        amqp, http = _amqp_and_management_ports()
        _configure(folder, http if management else None, settings)
        started = time.monotonic()
        # The broker would start epmd as a daemon that outlives everything: the keeper starts it.
        keeping = start_keeper(
            folder,
            [str(programs.epmd), "-port", str(epmd)],
            [str(programs.server)],
            environment=node_environment(folder, amqp, distribution, epmd),
        )
        stack.callback(stop_keeper, keeping)
        url = f"amqp://guest:guest@127.0.0.1:{amqp}/"
        management_url = f"http://127.0.0.1:{http}" if management else None
        try:
            version = wait_for_broker(
                url, timeout=start_timeout, alive=lambda: keeping.poll() is None
            )
            if management_url is not None:
                _wait_for_management(management_url, started + start_timeout)
        except BrokerUnavailableError as error:
            raise BrokerUnavailableError(
                f"{programs.server} did not start: {error}\n{end_of_log(folder)}"
            ) from error
        yield PrivateRabbitMQ(
            url=url,
            management_url=management_url,
            version=version,
            folder=folder,
            keeper_pid=keeping.pid,
            started_in=time.monotonic() - started,
        )


def _amqp_and_management_ports() -> tuple[int, int]:
    """Return two free ports; by RabbitMQ's convention, if possible, so that the second follows from the first."""
    for _ in range(_ATTEMPTS):
        (amqp,) = free_ports(1)
        beside = amqp + MANAGEMENT_OFFSET
        if is_free(beside):
            return amqp, beside
    amqp, http = free_ports(2)
    return amqp, http


def _configure(folder: Path, management_port: int | None, more: Sequence[str]) -> None:
    plugins = "rabbitmq_management" if management_port else ""
    settings = ["disk_free_limit.absolute = 10MB", *more]
    if management_port:
        settings += [
            f"management.tcp.port = {management_port}",
            "management.tcp.ip = 127.0.0.1",
        ]
    (folder / "enabled_plugins").write_text(f"[{plugins}].\n")
    (folder / "rabbitmq.conf").write_text("\n".join(settings) + "\n")
    # Empty ones keep the machine's own files in /etc/rabbitmq out.
    (folder / "rabbitmq-env.conf").touch()
    (folder / "advanced.config").write_text("[].\n")
    (folder / "conf.d").mkdir()


def node_environment(folder: Path, amqp: int, distribution: int, epmd: int) -> dict[str, str]:
    """Return the variables of a node, which keep it apart from others on this machine.

    Args:
        folder: everything of the node.
        amqp: its AMQP port.
        distribution: the port for Erlang's distribution.
        epmd: the port of Erlang's port mapper.
    """
    return {
        "PATH": search_path(),
        "HOME": str(folder),  # where Erlang writes its cookie
        "LANG": "C.UTF-8",
        "ERL_EPMD_PORT": str(epmd),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"stem{os.getpid()}-{amqp}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(amqp),
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_SCHEMA_DIR": str(folder / "schema"),
        "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "config"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_CONFIG_FILES": str(folder / "conf.d"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "rabbitmq-env.conf"),
        # Makes the script exec Erlang instead of waiting for it: one process to end, not two.
        "RUNNING_UNDER_SYSTEMD": "true",
    }


def _wait_for_management(url: str, deadline: float) -> None:
    while not management_answers(url, "guest:guest"):
        if time.monotonic() > deadline:
            raise BrokerUnavailableError(f"its management API does not answer at {url}")
        time.sleep(0.1)
