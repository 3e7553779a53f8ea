"""The client of RabbitMQ's management API: every failure becomes an answer with a reason."""

import asyncio
import base64
import contextlib
import json
import socketserver
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from certificates import Authority

from stem_amqp.errors import ConfigurationError, ManagementError, ManagementUnavailableError
from stem_amqp.management.client import Management
from stem_amqp.settings import Settings


def settings(**values):
    """Return settings without a file."""
    return Settings(_env_file=None, **values)


@pytest.fixture
def api():
    """Serve a management API that gives the test's answers and records the requests."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            server.asked.append(self)
            status, body = server.answer(parse_qs(urlsplit(self.path).query))
            self.send_response(status)
            for name, value in server.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

        def do_DELETE(self):
            self.do_GET()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked = []
    server.headers = {}
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def page(number, pages, *items):
    """Return one page of an answer."""
    return 200, {"page": number, "page_count": pages, "items": list(items)}


async def test_every_page_is_read(api):
    """A namespace has nearly a hundred queues, and a broker has many namespaces."""
    first = {"name": "stem.orders", "messages_unacknowledged": 3}
    second = {"name": "stem.emails", "messages_unacknowledged": 0}
    api.answer = lambda query: page(*((1, 2, first) if query["page"] == ["1"] else (2, 2, second)))
    found = await Management(url=api.url, user="u", password="p").unsettled("stem.")
    assert found.counts == {"stem.orders": 3, "stem.emails": 0}
    assert len(api.asked) == 2


async def test_a_list_that_becomes_shorter_while_it_is_read_is_read_again(api):
    """RabbitMQ refuses a page that no longer exists; what was on it is on an earlier page now."""
    first, second = ({"name": f"stem.{one}", "messages_unacknowledged": 1} for one in "ab")
    refused = (
        400,
        {
            "error": "page_out_of_range",
            "reason": "Page out of range, page: 2 page size: 500, len: 484",
        },
    )
    answers = iter([page(1, 2, first), refused, page(1, 1, second)])
    api.answer = lambda query: next(answers)
    found = await Management(url=api.url, user="u", password="p").unsettled("stem.")
    assert found.counts == {"stem.b": 1}
    assert [parse_qs(urlsplit(one.path).query)["page"] for one in api.asked] == [
        ["1"],
        ["2"],
        ["1"],
    ]


async def test_only_this_virtual_host_and_namespace_are_asked_for(api):
    """The names are given as a pattern in which the dot is escaped."""
    api.answer = lambda query: page(1, 1)
    management = Management(url=api.url, user="u", password="p w", virtual_host="/shop")
    assert (await management.unsettled("a.b.")).counts == {}
    request = api.asked[0]
    assert request.path.startswith("/api/queues/%2Fshop?")
    query = parse_qs(urlsplit(request.path).query)
    assert query["name"] == [r"^a\.b\."]
    assert request.headers["Authorization"] == f"Basic {base64.b64encode(b'u:p w').decode()}"


async def test_a_queue_without_statistics_is_not_known(api):
    """A missing number is not zero."""
    api.answer = lambda query: page(1, 1, {"name": "stem.orders"})
    found = await Management(url=api.url, user="u", password="p").unsettled("stem.")
    assert found.counts == {}


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (401, b"", "refused the user 'u' (401)"),
        (401, {"reason": "Not management user"}, "refused the user 'u' (401: Not management user)"),
        (403, b"[]", "refused the user 'u' (403)"),
        (404, b"", "no management API, or no virtual host '/'"),
        (500, b"", "answers 500"),
        (200, b"<html>", "invalid response"),
        (200, {"error": "x"}, "invalid response"),
        (200, [], "invalid response"),
    ],
)
async def test_a_refusal_is_a_reason(api, status, body, says):
    """Whatever the failure is, the rest of the report is shown."""
    api.answer = lambda query: (status, body)
    found = await Management(url=api.url, user="u", password="secret").unsettled("stem.")
    assert found.counts is None
    assert says in found.reason
    assert api.url in found.reason
    assert "secret" not in found.reason


@pytest.mark.parametrize(
    ("method", "remedy"),
    [
        (
            "get",
            "the tag 'management' (or monitoring), and permissions on the virtual host",
        ),
        ("delete", "rabbitmqctl set_user_tags worker policymaker "),
    ],
)
async def test_a_refused_user_reads_which_permissions_are_missing(api, method, remedy):
    """The error differs from that for no answer: enabling the API would change nothing."""
    api.answer = lambda query: (401, {"reason": "Not management user"})
    management = Management(url=api.url, user="worker", password="secret", virtual_host="/shop")
    with pytest.raises(ManagementError) as caught:
        await getattr(management, method)("policies", "/shop")
    text = str(caught.value)
    assert "refused the user 'worker' (401: Not management user)" in text
    assert remedy in text
    assert "STEM_MANAGEMENT_URL=" in text
    assert "does not answer" not in text
    assert "rabbitmq-plugins" not in text
    assert "secret" not in text


async def test_an_api_that_does_not_exist_can_be_enabled_or_named():
    """The error contains both remedies."""
    management = Management(url="http://127.0.0.1:1", user="u", password="p")
    with pytest.raises(ManagementError, match=r"rabbitmq-plugins enable .*STEM_MANAGEMENT_URL="):
        await management.get("overview")


async def test_a_closed_port_is_a_reason():
    """A broker without the plugin is common."""
    found = await Management(url="http://127.0.0.1:1", user="u", password="p").unsettled("stem.")
    assert found.counts is None
    assert "does not answer (Connection refused) at http://127.0.0.1:1" in found.reason


@pytest.mark.parametrize(
    ("values", "url", "user", "password", "virtual_host"),
    [
        ({}, "http://localhost:15672", "guest", "guest", "/"),
        (
            {"broker_url": "amqp://me:p%40ss@mq.example:5671/%2Fshop"},
            "http://mq.example:15672",
            "me",
            "p@ss",
            "/shop",
        ),
        ({"broker_url": "amqp://[::1]/x"}, "http://[::1]:15672", "guest", "guest", "x"),
        (
            {"broker_url": "amqps://me:x@mq.example/v"},
            "https://mq.example:15671",
            "me",
            "x",
            "v",
        ),
        (
            {"broker_url": "amqp://me:x@mq/v", "management_url": "https://ops:y@mgmt/path/"},
            "https://mgmt/path",
            "ops",
            "y",
            "v",
        ),
        (
            {"broker_url": "amqp://me:x@mq/v", "management_url": "http://mgmt:8080"},
            "http://mgmt:8080",
            "me",
            "x",
            "v",
        ),
    ],
)
def test_the_address_comes_from_the_settings(values, url, user, password, virtual_host):
    """By default it is the broker's host, with the broker's credentials."""
    found = Management.of(settings(**values))
    assert (found.url, found.user, found.password) == (url, user, password)
    assert found.virtual_host == virtual_host
    assert repr(password) not in repr(found) or user == password


@pytest.mark.parametrize(
    "url",
    ["mgmt:15672", "ftp://mgmt", "http://", "http://u:1/hunter2@mgmt", "http://u:hunter2@mgmt:x"],
)
def test_an_address_that_is_none_is_refused(url):
    """A setting that cannot work is an error instead of a dash in a table."""
    with pytest.raises(ConfigurationError, match="STEM_MANAGEMENT_URL") as caught:
        Management.of(settings(management_url=url))
    assert "hunter2" not in str(caught.value)


async def test_credentials_do_not_follow_a_redirect(api):
    """The server at the API's address could otherwise send them to any host."""
    seen = []
    api.answer = lambda query: (307, b"") if not seen else (200, b"{}")
    api.headers = {"Location": f"{api.url}/elsewhere?token=hunter2"}
    with pytest.raises(
        ManagementError, match=r"(?s)a redirect to .*/elsewhere.* is not followed"
    ) as caught:
        await Management(url=api.url, user="u", password="p").get("overview")
    assert "hunter2" not in str(caught.value)
    assert len(api.asked) == 1


async def test_credentials_do_not_go_through_a_proxy(api, monkeypatch):
    """``http_proxy`` is set on many machines, and a proxy can read unencrypted requests."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    api.answer = lambda query: (200, {"ok": True})
    assert await Management(url=api.url, user="u", password="p").get("overview") == {"ok": True}


@pytest.mark.parametrize("part", ["the head", "a header", "the body", "the end"])
async def test_an_answer_that_takes_for_ever_is_given_up(part, monkeypatch):
    """Single bytes keep a socket's timeout from expiring, but the request has its own limit."""
    monkeypatch.setattr("stem_amqp.management.client.TIMEOUT", 0.5)
    begin = {
        "the head": b"HTTP/1.1 ",
        "a header": b"HTTP/1.1 200 OK\r\nX: ",
        "the body": b'HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n"',
        "the end": b'HTTP/1.1 200 OK\r\n\r\n"',
    }[part]

    class Drip(socketserver.BaseRequestHandler):
        def handle(self):
            with contextlib.suppress(ConnectionError):
                self.request.sendall(begin)
                while not ended.wait(0.05):
                    self.request.sendall(b"x")

    ended = threading.Event()
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Drip) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        management = Management(
            url=f"http://127.0.0.1:{server.server_address[1]}", user="u", password="p"
        )
        try:
            async with asyncio.timeout(60):
                with pytest.raises(
                    ManagementUnavailableError, match=r"no complete answer within 0.5 s"
                ):
                    await management.get("overview")
        finally:
            ended.set()
            server.shutdown()


async def test_an_answer_without_end_is_cut(api, monkeypatch):
    """The memory for an answer is bounded."""
    monkeypatch.setattr("stem_amqp.management.http.MAX_RESPONSE", 100_000)
    api.answer = lambda query: (200, b'"' + b"x" * 200_000 + b'"')
    with pytest.raises(ManagementError, match="more than 100000 bytes"):
        await Management(url=api.url, user="u", password="p").get("overview")


@pytest.mark.parametrize(
    "answer",
    [
        {"page_count": 10**9, "items": []},
        {"page_count": "2", "items": []},
        {"page_count": 1, "items": [1]},
        {"page_count": 1, "items": {}},
        {"items": []},
        "x",
    ],
)
async def test_a_list_that_is_none_is_refused(api, answer):
    """The number of pages is bounded, and a malformed page is refused."""
    api.answer = lambda query: (200, answer)
    with pytest.raises(ManagementError, match="invalid response"):
        await Management(url=api.url, user="u", password="p").listing("queues", "", "name")
    assert len(api.asked) == 1


async def test_deep_json_is_no_answer(api):
    """The recursion limit of the JSON reader becomes an answer with a reason."""
    api.answer = lambda query: (200, b"[" * 100_000)
    with pytest.raises(ManagementError, match="invalid response"):
        await Management(url=api.url, user="u", password="p").get("overview")


@pytest.fixture
def secured(api, tmp_path):
    """Serve an API with TLS that asks for a client certificate."""
    authority = Authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.pair("server"))
    context.load_verify_locations(authority.path)
    context.verify_mode = ssl.CERT_REQUIRED
    api.socket = context.wrap_socket(api.socket, server_side=True)
    api.url = f"https://127.0.0.1:{api.server_port}"
    api.answer = lambda query: (200, {"ok": True})
    api.authority = authority
    return api


async def test_https_uses_the_tls_files_of_the_broker(secured):
    """Authority and client certificate are those of the connection to the broker."""
    cert, key = secured.authority.pair("client")
    files = {"tls_ca": secured.authority.path, "tls_cert": cert, "tls_key": key}
    management = Management.of(settings(management_url=secured.url, **files))
    assert await management.get("overview") == {"ok": True}


async def test_an_authority_that_is_not_known_gets_no_password(secured):
    """The error names the setting."""
    management = Management.of(settings(management_url=secured.url))
    with pytest.raises(
        ManagementUnavailableError, match=r"(?s)is not trusted.*STEM_TLS_CA"
    ) as caught:
        await management.get("overview")
    assert secured.asked == []
    assert "rabbitmq-plugins" not in str(caught.value)


async def test_a_tls_file_that_is_missing_is_named(secured, tmp_path):
    """The error is a configuration error, not an unavailable API."""
    files = {"tls_ca": tmp_path / "none.pem"}
    with pytest.raises(ConfigurationError, match=r"STEM_TLS_CA: cannot read .*none\.pem"):
        await Management.of(settings(management_url=secured.url, **files)).get("overview")
