"""A fake Docker engine for tests: its API on a Unix socket, with local programs as containers.

It answers the requests of testcontainers. A function of the test starts a "container": a private
RabbitMQ, PostgreSQL or Redis, whose ports replace those that the engine would have published.
"""

import json
import re
import socketserver
import sys
import threading
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

VERSION = {"ApiVersion": "1.44", "MinAPIVersion": "1.24", "Version": "25.0.0", "Os": "linux"}

SUMMARY = {
    "Id": "c0ffee",
    "HostConfig": {"NetworkMode": "bridge"},
    "NetworkSettings": {"Networks": {"bridge": {"Gateway": "127.0.0.1"}}},
}


class Engine:
    """The state of the engine.

    Args:
        start: takes a container's environment and an exit stack, starts its program, and returns
            the port on 127.0.0.1 for each port of the container.
    """

    def __init__(self, start):
        self.start = start
        self.requests = []
        self.created = None
        self.pulled = False
        self.ports = {}
        self.running = ExitStack()

    def answer(self, method, path, body):
        """Return the status and the document for a request."""
        self.requests.append((method, path))
        words = re.sub(r"^/v[\d.]+", "", path).split("/")[1:]
        found = self.answer_of_images(method, words) or self.answer_of_containers(
            method, words, body
        )
        return found or (404, {"message": f"the stand-in has no {method} {path}"})

    def answer_of_images(self, method, words):
        """Answer a request about the engine or its images."""
        match method, words:
            case "GET", ["_ping"]:
                return 200, "OK"
            case "GET", ["version"]:
                return 200, VERSION
            case "GET", ["images", *_] if not self.pulled:
                return 404, {"message": "no such image"}
            case "GET", ["images", *name, "json"]:
                return 200, {"Id": "sha256:1", "RepoTags": ["/".join(name)]}
            case "POST", ["images", "create"]:
                self.pulled = True
                return 200, {"status": "pulled"}
        return None

    def answer_of_containers(self, method, words, body):
        """Answer a request about the container."""
        match method, words:
            case "POST", ["containers", "create"]:
                self.created = body
                return 201, {"Id": "c0ffee", "Warnings": []}
            case "POST", ["containers", "c0ffee", "start"]:
                environment = dict(one.split("=", 1) for one in self.created.get("Env") or [])
                self.ports |= self.start(environment, self.running)
                return 204, None
            case "GET", ["containers", "json"]:
                return 200, [SUMMARY]
            case "GET", ["containers", "c0ffee", "json"]:
                return 200, self.inspected()
            case "DELETE", ["containers", "c0ffee"]:
                self.running.close()
                return 204, None
        return None

    def inspected(self):
        """Return the engine's description of the container."""
        wished = self.created["HostConfig"]["PortBindings"]
        ports = {
            name: [
                {"HostIp": one.get("HostIp") or "0.0.0.0", "HostPort": str(self.ports[name])}
                for one in bindings
            ]
            for name, bindings in wished.items()
            if name in self.ports
        }
        return {
            "Id": "c0ffee",
            "Image": "sha256:1",
            "State": {"Status": "running" if self.ports else "created"},
            "Config": {"Labels": self.created["Labels"]},
            "NetworkSettings": {"Ports": ports, "Networks": {}},
        }


class Handler(BaseHTTPRequestHandler):
    """Answers HTTP requests with the engine of its server."""

    protocol_version = "HTTP/1.1"

    def address_string(self):
        return "a Unix socket"

    def log_message(self, *_words):
        """Log nothing."""

    def respond(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or b"null")
        status, document = self.server.engine.answer(self.command, urlsplit(self.path).path, body)
        content = b"" if document is None else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_DELETE = respond  # noqa: N815


class Server(socketserver.ThreadingUnixStreamServer):
    """Listens on the socket of an engine."""

    daemon_threads = True

    def __init__(self, path, engine):
        self.engine = engine
        super().__init__(str(path), Handler)

    def handle_error(self, request, client_address):
        """Print an error, unless it is a disconnect of the client."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()
        self.engine.running.close()
