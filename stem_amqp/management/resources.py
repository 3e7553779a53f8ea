"""The free resources of a broker: file descriptors, sockets, and alarms that block publishers.

A node without free descriptors does not answer by AMQP: it accepts a connection and then sends
nothing. Its management API still answers, and so does ``rabbitmqctl`` on the same machine.

Up to RabbitMQ 4.0 the node accounts for descriptors itself. It reserves some of its limit for itself,
and some for each queue of a replicated type, whether its files are open or not. ``fd_used`` of the API
counts only open ones, so the reservation of the queues is estimated from their number.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stem_amqp.errors import ConfigurationError, ManagementError
from stem_amqp.management.client import Management
from stem_amqp.management.http import read_url
from stem_amqp.settings import Settings

PER_QUEUE = 3
"""Descriptors that a quorum queue reserves, measured on RabbitMQ 3.10.8."""
_RESERVED = 100
"""Descriptors that the node reserves for itself."""
_FULL = 0.95
"""The fraction of the limit at which a node counts as exhausted."""
_NEAR = 0.8
"""The fraction of the limit from which a node is near to it."""
_CTL_TIMEOUT = 6.0
"""Maximum seconds of rabbitmqctl, which starts a virtual machine."""
_CTL = (
    "{file_handle_cache:info(),"
    " [element(6, L) || L <- rabbit_networking:node_listeners(node())], node()}."
)
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
_PORTS = {"amqp": 5672, "amqps": 5671}
RAISE_LIMIT = (
    "Raise the limit of the node's process (LimitNOFILE=65536 in its systemd unit, ulimit -n, or the"
    " container's ulimits), or delete unused queues"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeResources:
    """The resources of one node of a cluster.

    Args:
        name: the node's name.
        descriptors: the limit of file descriptors for connections, queues and files.
        used: used or reserved descriptors; an estimate with the API of older releases.
        estimated: whether ``used`` is an estimate.
        accounted: whether queues reserve descriptors, as they do before RabbitMQ 4.1.
        alarms: the resources whose alarm blocks publishers: ``memory`` or ``disk``.
        sockets: the limit of sockets; 0 where the node does not account for them (RabbitMQ 4.1).
        used_sockets: used sockets.
        running: whether the node runs; the numbers of one that is down are 0.
    """

    name: str
    descriptors: int
    used: int
    estimated: bool = False
    accounted: bool = False
    alarms: tuple[str, ...] = ()
    sockets: int = 0
    used_sockets: int = 0
    running: bool = True

    @property
    def left(self) -> int:
        """The number of free descriptors."""
        return max(0, self.descriptors - self.used)

    @property
    def exhausted(self) -> bool:
        """Whether almost no descriptors are free."""
        return self.running and self.used >= self.descriptors * _FULL

    @property
    def sockets_exhausted(self) -> bool:
        """Whether almost no sockets are free."""
        return bool(self.sockets) and self.used_sockets >= self.sockets * _FULL

    @property
    def warnings(self) -> list[str]:
        """The limits that the node is near to, one sentence each."""
        counts = {
            "file descriptors": (self.used, self.descriptors),
            "sockets": (self.used_sockets, self.sockets),
        }
        return [
            f"{self.name} uses {used / limit:.0%} of its {what}"
            for what, (used, limit) in counts.items()
            if limit and limit * _NEAR <= used < limit * _FULL
        ]

    @property
    def problems(self) -> list[str]:
        """The problems of the node, one sentence each."""
        if not self.running:
            return [f"{self.name} is down"]
        found = []
        if self.alarms:
            found.append(
                f"{self.name} blocks publishers because of a {' and '.join(self.alarms)} alarm"
            )
        if self.exhausted:
            found.append(
                f"{self.name} has run out of file descriptors: queues, connections and files use"
                f" {'about ' if self.estimated else ''}{self.used} of {self.descriptors}"
            )
        if self.sockets_exhausted:
            found.append(
                f"{self.name} has run out of sockets: connections use {self.used_sockets} of"
                f" {self.sockets}"
            )
        return found

    def __str__(self) -> str:
        if not self.running:
            return f"{self.name}: down"
        about = "about " if self.estimated else ""
        return f"{self.name}: {about}{self.used} of {self.descriptors} file descriptors"


async def ask_management(management: Management) -> list[NodeResources]:
    """Ask the management API for the resources of each node.

    Args:
        management: the API; its user needs the tag ``monitoring``.

    Raises:
        ManagementError: it does not answer, or refuses access.
    """
    nodes, overview = await asyncio.gather(management.get("nodes"), management.get("overview"))
    totals = overview.get("object_totals") if isinstance(overview, dict) else None
    queues = totals.get("queues") if isinstance(totals, dict) else None
    found = [_node(node, queues if isinstance(queues, int) else 0) for node in _objects(nodes)]
    return [node for node in found if node is not None]


async def ask_ctl(settings: Settings) -> list[NodeResources]:
    """Ask ``rabbitmqctl`` for the resources of the node, if the broker runs on this machine.

    Args:
        settings: the settings; their first broker URL is the broker in question.

    Returns:
        The node; empty if the tool is missing, has no permission, or belongs to another broker.
    """
    program = shutil.which("rabbitmqctl")
    port = _local_port(settings)
    if program is None or port is None:
        return []
    try:
        process = await asyncio.create_subprocess_exec(
            program, "--quiet", "eval", _CTL,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
    except OSError:
        return []
    try:
        async with asyncio.timeout(_CTL_TIMEOUT):
            output, _ = await process.communicate()
    except TimeoutError:
        return []
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return read_ctl(output.decode(errors="replace"), port)


def read_ctl(text: str, port: int) -> list[NodeResources]:
    """Parse the counters of a node's file handle cache.

    Args:
        text: the output of rabbitmqctl.
        port: the port on which the node must listen; otherwise it is another node.
    """
    numbers = {name: int(number) for name, number in re.findall(r"\{(\w+),(\d{1,9})\}", text)}
    ports = re.search(r"\],\s*\[([\d,\s]*)\]", text)
    node = re.search(r"\],\s*'?([\w.@-]+)'?\}\s*$", text)
    if ports is None or node is None or not {"total_limit", "total_used"} <= numbers.keys():
        return []
    if str(port) not in re.findall(r"\d+", ports[1]):
        return []
    return [
        NodeResources(
            name=node[1],
            descriptors=numbers["total_limit"],
            used=numbers["total_used"] + numbers.get("sockets_used", 0),
            accounted=True,
        )
    ]


async def find_resources(settings: Settings, *, locally: bool = False) -> list[NodeResources]:
    """Return the resources of the nodes from any available source; nothing is raised.

    Args:
        settings: the settings of the application.
        locally: whether to ask rabbitmqctl too, which takes a second or more, if the API does not
            answer or its estimate is not precise enough.

    Returns:
        The nodes; empty if no source answers.
    """
    try:
        nodes = await ask_management(Management.of(settings))
    except (ManagementError, ConfigurationError):
        nodes = []
    unsure = not explain(nodes) and not any(node.used < node.descriptors / 2 for node in nodes)
    return await _exactly(settings, nodes) if locally and unsure else nodes


async def _exactly(settings: Settings, nodes: list[NodeResources]) -> list[NodeResources]:
    """Replace estimates with the exact numbers of rabbitmqctl, if it has some."""
    exact = {node.name: node for node in await ask_ctl(settings)}
    alarms = {node.name: node.alarms for node in nodes}
    rest = [node for node in nodes if node.name not in exact]
    return [
        *(
            NodeResources(
                name=node.name,
                descriptors=node.descriptors,
                used=node.used,
                accounted=True,
                alarms=alarms.get(node.name, ()),
            )
            for node in exact.values()
        ),
        *rest,
    ]


def explain(nodes: Sequence[NodeResources]) -> str:
    """Return the problems of the nodes with their remedies; an empty string without problems."""
    problems = [problem for node in nodes for problem in node.problems]
    if not problems:
        return ""
    remedies = []
    if any(node.exhausted or node.sockets_exhausted for node in nodes):
        remedies.append(RAISE_LIMIT)
    if any(node.alarms for node in nodes):
        remedies.append("See `rabbitmq-diagnostics alarms`, and free memory or disk")
    if not all(node.running for node in nodes):
        remedies.append("Start it, or remove it from the cluster: rabbitmqctl forget_cluster_node")
    return "\n  ".join([*problems, *(f"{remedy}." for remedy in remedies)])


def too_many_queues(nodes: Sequence[NodeResources], queues: int) -> str:
    """Return a warning if a node lacks descriptors for more queues, otherwise an empty string.

    Args:
        nodes: the nodes.
        queues: the number of queues that are about to be declared.
    """
    need = queues * PER_QUEUE
    short = [node for node in nodes if node.accounted and need > node.left]
    if not queues or not short:
        return ""
    node = min(short, key=lambda one: one.left)
    about = "about " if node.estimated else ""
    return (
        f"{queues} queues reserve about {need} file descriptors, and {node.name} has {about}{node.left}"
        f" of {node.descriptors} left: it would stop answering while the queues are declared."
        f" {RAISE_LIMIT}"
    )


def _objects(answer: Any) -> list[dict[str, Any]]:
    return [one for one in answer if isinstance(one, dict)] if isinstance(answer, list) else []


def _node(node: dict[str, Any], queues: int) -> NodeResources | None:
    if node.get("running") is False:
        return NodeResources(name=str(node.get("name")), descriptors=0, used=0, running=False)
    limit, used = node.get("fd_total"), node.get("fd_used")
    if not isinstance(limit, int) or not isinstance(used, int):
        return None
    sockets, used_sockets = node.get("sockets_total"), node.get("sockets_used")
    accounted = bool(node.get("sockets_total"))
    reserved = queues * PER_QUEUE if accounted else 0
    alarms = {"memory": node.get("mem_alarm"), "disk": node.get("disk_free_alarm")}
    return NodeResources(
        name=str(node.get("name")),
        descriptors=limit - _RESERVED if accounted else limit,
        used=max(used, reserved),
        estimated=reserved > used,
        accounted=accounted,
        alarms=tuple(name for name, on in alarms.items() if on is True),
        sockets=sockets if isinstance(sockets, int) else 0,
        used_sockets=used_sockets if isinstance(used_sockets, int) else 0,
    )


def _local_port(settings: Settings) -> int | None:
    """Return the broker's port if it runs on this machine."""
    try:
        url = read_url("STEM_BROKER_URL", settings.broker_url[0].get_secret_value())
    except ConfigurationError:
        return None
    if url.hostname not in _LOCAL | {socket.gethostname()}:
        return None
    return url.port or _PORTS.get(url.scheme)
