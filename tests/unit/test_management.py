"""The client of RabbitMQ's management API: every failure is an answer with a reason."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from stem_amqp.errors import ConfigurationError, ManagementError
from stem_amqp.management import Management
from stem_amqp.settings import Settings


def settings(**values):
    """Return settings without a file."""
    return Settings(_env_file=None, **values)


@pytest.fixture
def api():
    """A management API that answers what the test wants, and keeps what it was asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            server.asked.append(self)
            status, body = server.answer(parse_qs(urlsplit(self.path).query))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

        def do_DELETE(self):
            self.do_GET()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked = []
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def page(number, pages, *items):
    """Return one page of an answer."""
    return 200, {"page": number, "page_count": pages, "items": list(items)}


async def test_every_page_is_read(api):
    """A namespace has nearly a hundred queues, and a broker many namespaces."""
    first = {"name": "stem.orders", "messages_unacknowledged": 3}
    second = {"name": "stem.emails", "messages_unacknowledged": 0}
    api.answer = lambda query: page(*((1, 2, first) if query["page"] == ["1"] else (2, 2, second)))
    found = await Management(url=api.url, user="u", password="p").unsettled("stem.")
    assert found.counts == {"stem.orders": 3, "stem.emails": 0}
    assert len(api.asked) == 2


async def test_only_this_virtual_host_and_namespace_are_asked_for(api):
    """The names are a pattern, in which the dot is a dot."""
    api.answer = lambda query: page(1, 1)
    management = Management(url=api.url, user="u", password="p w", virtual_host="/shop")
    assert (await management.unsettled("a.b.")).counts == {}
    request = api.asked[0]
    assert request.path.startswith("/api/queues/%2Fshop?")
    query = parse_qs(urlsplit(request.path).query)
    assert query["name"] == [r"^a\.b\."]
    assert request.headers["Authorization"] == f"Basic {base64.b64encode(b'u:p w').decode()}"


async def test_a_queue_without_statistics_is_not_known(api):
    """A number that is not there is not zero."""
    api.answer = lambda query: page(1, 1, {"name": "stem.orders"})
    found = await Management(url=api.url, user="u", password="p").unsettled("stem.")
    assert found.counts == {}


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (401, b"", "refused the user 'u' (401)"),
        (401, {"reason": "Not management user"}, "refused the user 'u' (401: Not management user)"),
        (403, b"[]", "refused the user 'u' (403)"),
        (404, b"", "no management API, or no such virtual host"),
        (500, b"", "answers 500"),
        (200, b"<html>", "no usable answer"),
        (200, {"error": "x"}, "no usable answer"),
        (200, [], "no usable answer"),
    ],
)
async def test_a_refusal_is_a_reason(api, status, body, says):
    """Whatever is wrong, the rest of the report is shown."""
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
            "the tag 'management' (monitoring is as good), and permissions on the virtual host",
        ),
        ("delete", "rabbitmqctl set_user_tags worker policymaker "),
    ],
)
async def test_a_refused_user_is_told_what_it_lacks(api, method, remedy):
    """Not that nobody answers: the API is there, and enabling it would change nothing."""
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


async def test_an_api_that_is_not_there_can_be_enabled_or_named():
    """Both remedies are in the error."""
    management = Management(url="http://127.0.0.1:1", user="u", password="p")
    with pytest.raises(ManagementError, match=r"rabbitmq-plugins enable .*STEM_MANAGEMENT_URL="):
        await management.get("overview")


async def test_nobody_there_is_a_reason():
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
    """Without a setting it is beside the broker, with the broker's credentials."""
    found = Management.of(settings(**values))
    assert (found.url, found.user, found.password) == (url, user, password)
    assert found.virtual_host == virtual_host
    assert repr(password) not in repr(found) or user == password


@pytest.mark.parametrize("url", ["mgmt:15672", "ftp://mgmt", "http://"])
def test_an_address_that_is_none_is_refused(url):
    """A setting that cannot work is an error, not a dash in a table."""
    with pytest.raises(ConfigurationError, match="STEM_MANAGEMENT_URL"):
        Management.of(settings(management_url=url))
