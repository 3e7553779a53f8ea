"""The server of metrics and probes answers from threads, within limits."""

import os
import socket
import threading
import urllib.error
import urllib.request

import pytest
from support import until

from stem_amqp.observability.http import Answer, PortUnavailableError, serve, server


def get(port, path="/page", method="GET", host="127.0.0.1"):
    """Return the status, the headers and the body of a request."""
    request = urllib.request.Request(f"http://{host}:{port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, response.headers, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def page(accept):
    return Answer(body=b"paged\n")


def broken(accept):
    raise ValueError("secret")


@pytest.fixture
def port():
    with serve("127.0.0.1", 0, {"/page": page, "/broken": broken}) as number:
        yield number


def send(port, data):
    """Return what the server answers to raw bytes."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_pages_are_answered(port):
    status, headers, body = get(port, "/page?name=x")
    assert (status, body) == (200, b"paged\n")
    assert headers["Content-Type"] == "text/plain; charset=utf-8"
    assert headers["Content-Length"] == "6"
    assert "Python" not in headers["Server"]


def test_head_has_no_body(port):
    status, headers, body = get(port, method="HEAD")
    assert (status, headers["Content-Length"], body) == (200, "6", b"")


@pytest.mark.parametrize("path", ["/", "/page/", "/../page", "/%00", "/x" * 2000])
def test_another_path_is_not_found(port, path):
    status, _, body = get(port, path)
    assert status == 404
    assert b"/page\n" in body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "X"])
def test_another_method_is_refused(port, method):
    assert get(port, method=method)[0] == 501


def test_an_error_of_a_page_is_logged_and_not_shown(port, caplog):
    status, _, body = get(port, "/broken")
    assert status == 500
    assert b"secret" not in body
    assert "the page /broken cannot be made" in caplog.text


@pytest.mark.parametrize(
    "data", [b"", b"\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01" * 100, b"GET / HTTP/9.9\r\n\r\n"]
)
def test_malformed_requests_leave_the_server_running(port, data):
    assert b"paged" not in send(port, data)
    assert get(port)[0] == 200


def test_a_request_that_is_too_large_is_cut_off(port):
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        try:
            while True:
                connection.sendall(b"x: y\r\n" * 1000)
        except OSError:
            pass
    assert get(port)[0] == 200


def test_slow_requests_are_limited_in_time_and_number(port, monkeypatch):
    monkeypatch.setattr(server, "REQUEST_TIME", 0.5)
    slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(server.REQUESTS)]
    for connection in slow:
        connection.sendall(b"GET /page")
    until(lambda: threading.active_count() > server.REQUESTS, "the threads")
    with socket.create_connection(("127.0.0.1", port), timeout=60) as one_more:
        assert one_more.recv(10) == b""  # closed at once
    for connection in slow:
        connection.settimeout(10)
        connection.recv(100)
        connection.close()
    until(lambda: get(port)[0] == 200, "an answer")


def test_a_port_in_use_is_explained(port):
    with (
        pytest.raises(
            PortUnavailableError, match=f"port {port} of 127.0.0.1 cannot be used: Address"
        ),
        serve("127.0.0.1", port, {}),
    ):
        pass


@pytest.mark.parametrize(
    "address", ["203.0.113.7", "no.such.host.invalid", "a b", "x" * 300, "é\n", "\x00"]
)
def test_a_wrong_address_is_explained(address):
    with pytest.raises(PortUnavailableError, match="cannot be used"), serve(address, 0, {}):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may use any port")
def test_a_privileged_port_is_explained():
    with pytest.raises(PortUnavailableError, match="above 1023"), serve("127.0.0.1", 80, {}):
        pass


def test_both_families_of_addresses_are_served():
    try:
        with serve("::", 0, {"/page": page}) as port:
            assert get(port, host="127.0.0.1")[0] == 200
            assert get(port, host="[::1]")[0] == 200
    except PortUnavailableError as error:
        pytest.skip(str(error))


def test_the_port_is_free_after_the_block():
    with serve("127.0.0.1", 0, {}) as port:
        pass
    with serve("127.0.0.1", port, {"/page": page}):
        assert get(port)[0] == 200


def test_a_forked_process_does_not_keep_the_port():
    """The child closes its copy of the socket before the fork returns there."""
    with serve("127.0.0.1", 0, {}) as port:
        reading, writing = os.pipe()
        started, start = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(writing)
            os.write(start, b"1")
            os.read(reading, 1)
            os._exit(0)
        os.close(reading)
    try:
        assert os.read(started, 1) == b"1"
        with serve("127.0.0.1", port, {"/page": page}):
            assert get(port)[0] == 200
    finally:
        for descriptor in (writing, started, start):
            os.close(descriptor)
        os.waitpid(child, 0)
