"""Serves a few pages by HTTP from threads, so that it answers while an event loop is blocked."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import socket
import socketserver
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, TypeAlias

from typing_extensions import override

from stem_amqp.errors import StemError
from stem_amqp.text import one_line

log = logging.getLogger("stem_amqp.observability")

REQUEST_SIZE = 8192
"""The largest request in bytes."""
REQUEST_TIME = 5.0
"""Seconds in which a request must be complete, and in which its answer must be taken."""
REQUESTS = 16
"""The maximum number of requests at once; further ones are closed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The answer to a request.

    Args:
        status: the HTTP status.
        body: the body.
        content_type: its media type.
    """

    status: int = HTTPStatus.OK
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"


Page: TypeAlias = Callable[[str], Answer]
"""Answers a request; called in any thread with the request's ``Accept`` header."""


class PortUnavailableError(StemError):
    """An address or port cannot be listened on."""


@contextmanager
def serve(address: str, port: int, pages: Mapping[str, Page]) -> Iterator[int]:
    """Serve pages during a block, and yield the port.

    GET and HEAD are answered; any other path is not found. A request is limited in size and time, and
    so is the number of requests at once.

    Args:
        address: the IP address or host name to listen on; ``0.0.0.0`` for all IPv4 interfaces.
        port: the TCP port; 0 chooses a free one.
        pages: by path, such as ``/metrics``.

    Raises:
        PortUnavailableError: the port is in use, needs privileges, or the address is not of this host.
    """
    try:
        server = _Server(address, port, pages)
    except (OSError, UnicodeError, OverflowError) as error:
        raise PortUnavailableError(_explain(address, port, error)) from None
    thread = threading.Thread(
        target=server.serve_forever, args=(0.1,), name="stem-amqp-http", daemon=True
    )
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _explain(address: str, port: int, error: Exception) -> str:
    where = f"port {port} of {one_line(address)}"
    if isinstance(error, PermissionError):
        return f"{where} needs privileges: choose a port above 1023"
    reason = getattr(error, "strerror", None) or error
    return f"{where} cannot be used: {reason}"


class _Server(socketserver.ThreadingTCPServer):
    """Listens on one port.

    Not `http.server.HTTPServer`, which asks the DNS for this host's name when it starts.
    """

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 32

    def __init__(self, address: str, port: int, pages: Mapping[str, Page]) -> None:
        family, _, _, _, where = socket.getaddrinfo(
            address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        self.address_family = family
        self.pages = pages
        self._free = threading.BoundedSemaphore(REQUESTS)
        super().__init__((str(where[0]), port), _Handler)
        _close_in_children(self.socket)

    @override
    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            with contextlib.suppress(OSError):  # "::" is for IPv4 too
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    @override
    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._free.release()
            raise

    @override
    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("an HTTP request failed", exc_info=True)  # noqa: LOG014 - called in a handler


def _close_in_children(listening: socket.socket) -> None:
    """Let a process that a task forks not keep the port: it may live longer than the worker."""
    reference = weakref.ref(listening)

    def close() -> None:
        if (inherited := reference()) is not None:
            inherited.close()

    os.register_at_fork(after_in_child=close)


class _Handler(BaseHTTPRequestHandler):
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride] - only this server uses it
    server_version = "stem-amqp"
    sys_version = ""

    @override
    def setup(self) -> None:
        super().setup()
        self.connection.settimeout(REQUEST_TIME)
        # The head is read here: the standard library limits neither its time nor its whole size
        self.rfile.close()
        self.rfile = io.BufferedReader(io.BytesIO(self._head()))

    def _head(self) -> bytes:
        deadline = time.monotonic() + REQUEST_TIME
        head = b""
        while b"\r\n\r\n" not in head and b"\n\n" not in head and len(head) < REQUEST_SIZE:
            self.connection.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                more = self.connection.recv(REQUEST_SIZE - len(head))
            except OSError:  # also a timeout
                return b""
            if not more:
                break
            head += more
        return head

    def do_GET(self) -> None:
        """Answer with a page."""
        answer = self._answer()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    do_HEAD = do_GET  # noqa: N815

    def _answer(self) -> Answer:
        page = self.server.pages.get(self.path.partition("?")[0])
        if page is None:
            known = "\n".join(sorted(self.server.pages))
            return Answer(
                status=HTTPStatus.NOT_FOUND, body=f"not found; there is:\n{known}\n".encode()
            )
        try:
            return page(self.headers.get("Accept", ""))
        except Exception:
            log.exception("the page %s cannot be made", self.path.partition("?")[0])
            body = b"internal error; the log has it\n"
            return Answer(status=HTTPStatus.INTERNAL_SERVER_ERROR, body=body)

    @override
    def log_message(self, format: str, *args: Any) -> None:
        """Write no line for each request: a probe comes every few seconds."""
