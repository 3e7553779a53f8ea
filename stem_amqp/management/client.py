"""A small client of RabbitMQ's management API, for what AMQP cannot provide."""

from __future__ import annotations

import asyncio
import base64
import http.client
import re
import ssl
import time
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import orjson

from stem_amqp.errors import ManagementError, ManagementUnavailableError
from stem_amqp.management.http import PORTS, Address, Answer, exchange, host_of, read_url, split_url
from stem_amqp.management.unsettled import Unsettled
from stem_amqp.settings import Settings
from stem_amqp.text import redacted
from stem_amqp.tls import NO_PATHS, TlsPaths, client_context
from stem_amqp.topology.policies import OPERATOR_POLICY

DEFAULT_PORT = 15672
DEFAULT_TLS_PORT = 15671
"""RabbitMQ's default port of the API with TLS."""
ENABLE = (
    "Enable it (rabbitmq-plugins enable rabbitmq_management), or set its address:"
    " STEM_MANAGEMENT_URL=http://user:password@host:15672 (https:// with TLS)"
)
"""The remedy if the API does not answer."""
TIMEOUT = 3.0
"""Seconds to wait for an answer; short, because the statistics are only an addition."""
_PAGE = 500
"""Queues on one page; RabbitMQ's maximum."""
_MAX_PAGES = 200
"""Maximum pages of one list: 100,000 queues."""
_LIST_TIMEOUT = 60.0
"""Seconds for all pages of a list."""
_DEFINITIONS_TIMEOUT = 30.0
"""Seconds to wait for a whole list; a virtual host may have thousands of queues."""
_DEFINITIONS = {
    "exchanges": "name,type,durable,auto_delete,internal,arguments",
    "queues": "name,type,durable,auto_delete,arguments",
    "bindings": "source,destination,destination_type,routing_key,arguments",
    "policies": "name,pattern,apply-to,definition,priority",
    "operator-policies": "name,pattern,apply-to,definition,priority",
}
"""The lists of a virtual host in a definitions file, and the columns of each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Management:
    """The management API of one broker.

    Args:
        url: such as ``http://host:15672``, without credentials.
        user: the user's name.
        password: the password.
        virtual_host: the virtual host.
        tls_paths: the TLS files for ``https``; without them the system's authorities are used.
        server_name: the name to verify in the server's certificate; None uses the URL's host.
    """

    url: str
    user: str
    password: str = field(repr=False)
    virtual_host: str = "/"
    tls_paths: TlsPaths = NO_PATHS
    server_name: str | None = None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the API of the settings; by default that on the host of the first broker.

        Credentials and virtual host are the broker's, unless the management URL has its own. For a
        broker with TLS, the default is an API with TLS: the password must not be sent unencrypted.

        Raises:
            ConfigurationError: the management URL is invalid.
        """
        broker = read_url("STEM_BROKER_URL", settings.broker_url[0].get_secret_value())
        user, password = broker.username, broker.password
        encrypted = broker.scheme == "amqps"
        scheme, port = ("https", DEFAULT_TLS_PORT) if encrypted else ("http", DEFAULT_PORT)
        url, host = f"{scheme}://{host_of(broker)}:{port}", broker.hostname
        if settings.management_url is not None:
            text = settings.management_url.get_secret_value()
            own = split_url(text)
            if own.username:
                user, password = own.username, own.password
            colon = f":{own.port}" if own.port else ""
            url, host = f"{own.scheme}://{host_of(own)}{colon}{own.path.rstrip('/')}", own.hostname
        return cls(
            url=url,
            user=urllib.parse.unquote(user or "guest"),
            password=urllib.parse.unquote(password or "guest"),
            virtual_host=urllib.parse.unquote(broker.path[1:]) or "/",
            tls_paths=TlsPaths(settings.tls_ca, settings.tls_cert, settings.tls_key),
            # The server name of the settings is that of the broker's host only
            server_name=settings.tls_server_name if host == broker.hostname else None,
        )

    async def unsettled(self, prefix: str) -> Unsettled:
        """Return the number of unsettled deliveries of each queue.

        Args:
            prefix: the prefix of the queues' names, such as ``stem.``.
        """
        try:
            found = await self.listing("queues", prefix, "name,messages_unacknowledged")
        except ManagementError as error:
            return Unsettled(counts=None, reason=str(error).partition("\n")[0])
        return Unsettled(
            counts={
                queue["name"]: queue["messages_unacknowledged"]
                for queue in found
                # Missing if statistics are disabled, and for a queue that was just declared
                if isinstance(queue.get("messages_unacknowledged"), int) and "name" in queue
            }
        )

    async def listing(self, kind: str, prefix: str, columns: str) -> list[dict[str, Any]]:
        """Return the queues or exchanges of the virtual host with a name prefix, from all pages.

        Args:
            kind: ``queues`` or ``exchanges``.
            prefix: the prefix of their names; empty for all.
            columns: the fields of each, separated by commas.

        Raises:
            ManagementError: the API does not answer, or refuses access.
        """
        return await asyncio.to_thread(self._pages, kind, prefix, columns)

    async def get(self, *path: str) -> Any:
        """Return the resource at a path below ``/api``.

        Args:
            *path: its segments, such as ``policies`` and the virtual host, not percent-encoded.

        Raises:
            ManagementError: the API does not answer, or refuses access.
        """
        return await asyncio.to_thread(self._ask, "GET", path)

    async def time(self) -> float | None:
        """Return the broker's time in seconds since the epoch, without fractions; None if it sends none.

        Raises:
            ManagementError: the API does not answer, or refuses access.
        """
        return (await asyncio.to_thread(self._exchange, "GET", ("whoami",))).time

    async def put(self, *path: str, content: Mapping[str, Any]) -> None:
        """Create or replace the resource at a path below ``/api``.

        Args:
            *path: its segments, not percent-encoded.
            content: JSON values.

        Raises:
            ManagementError: the API does not answer, or refuses access.
        """
        await asyncio.to_thread(self._ask, "PUT", path, content)

    async def delete(self, *path: str) -> None:
        """Delete the resource at a path below ``/api``.

        Args:
            *path: its segments, not percent-encoded.

        Raises:
            ManagementError: the API does not answer, or refuses access.
        """
        await asyncio.to_thread(self._ask, "DELETE", path)

    def fetch_definitions(self) -> dict[str, Any]:
        """Return the definitions of the virtual host in the format of a definitions file.

        It reads one list after the other: the API's export of definitions needs an administrator, the
        lists only the tag ``management``. It blocks, so call it outside of an event loop.

        Raises:
            ManagementError: the API does not answer, refuses access, or the virtual host is missing.
        """
        lists = {kind: self._whole_list(kind, columns) for kind, columns in _DEFINITIONS.items()}
        limits = lists.pop("operator-policies")
        return {
            **lists,
            "parameters": [
                {"component": OPERATOR_POLICY, "name": policy.get("name"), "value": policy}
                for policy in limits
            ],
        }

    def _whole_list(self, kind: str, columns: str) -> list[dict[str, Any]]:
        path = (kind, self.virtual_host)
        return self._entries(self._ask("GET", path, timeout=_DEFINITIONS_TIMEOUT, columns=columns))

    def _entries(self, items: Any) -> list[dict[str, Any]]:
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise self._unusable("a list of objects was expected")
        return items

    def _pages(self, kind: str, prefix: str, columns: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        page, pages = 0, 1
        deadline = time.monotonic() + _LIST_TIMEOUT
        while page < pages:
            page += 1
            query: dict[str, Any] = {
                "page": page,
                "page_size": _PAGE,
                "name": f"^{re.escape(prefix)}",
            }
            try:
                answer = self._ask(
                    "GET", (kind, self.virtual_host), **query, use_regex="true", columns=columns
                )
            except ManagementError as error:
                late = time.monotonic() > deadline
                if page == 1 or late or "Page out of range" not in str(error):
                    raise
                # Queues were deleted meanwhile: what was on this page is on an earlier one now
                found, page, pages = [], 0, 1
                continue
            if not isinstance(answer, dict) or not isinstance(answer.get("page_count"), int):
                raise self._unusable("a page of a list was expected")
            pages = answer["page_count"]
            found += self._entries(answer.get("items"))
            if pages > _MAX_PAGES or time.monotonic() > deadline:
                raise self._unusable(
                    f"the list of {kind} has {pages} pages; at most {_MAX_PAGES} are read"
                    f" within {_LIST_TIMEOUT:g} s"
                )
        return found

    def _ask(
        self,
        method: str,
        path: tuple[str, ...],
        content: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        **query: Any,
    ) -> Any:
        answer = self._exchange(method, path, content, timeout, **query)
        try:
            return orjson.loads(answer.body) if answer.body else None
        except (ValueError, RecursionError) as error:
            raise self._unusable(repr(error)) from error

    def _exchange(
        self,
        method: str,
        path: tuple[str, ...],
        content: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        **query: Any,
    ) -> Answer:
        parts = "/".join(urllib.parse.quote(part, safe="") for part in path)
        place = urllib.parse.urlsplit(self.url)
        wanted = f"{place.path}/api/{parts}" + (
            f"?{urllib.parse.urlencode(query)}" if query else ""
        )
        token = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        address = self._address(place)
        try:
            answer = exchange(
                address,
                method,
                wanted,
                headers={"Authorization": f"Basic {token}", "Content-Type": "application/json"},
                content=None if content is None else orjson.dumps(content),
                timeout=TIMEOUT if timeout is None else timeout,
            )
        except OSError as error:
            raise self._unreachable(error) from None
        except (http.client.HTTPException, ValueError, RecursionError) as error:
            raise self._unusable(repr(error)) from error
        if answer.status < http.client.MULTIPLE_CHOICES:
            return answer
        raise self._refused(answer, method)

    def _address(self, place: urllib.parse.SplitResult) -> Address:
        context = None
        if place.scheme == "https":
            paths = self.tls_paths
            context = client_context(paths.ca, paths.cert, paths.key)
        return Address(
            host=place.hostname or "localhost",
            port=place.port or PORTS[place.scheme],
            context=context,
            server_name=self.server_name,
        )

    def _unreachable(self, error: OSError) -> ManagementError:
        if isinstance(error, ssl.SSLError):
            why = getattr(error, "verify_message", "") or error.reason or error
            remedy = "Set STEM_TLS_CA to the authority of its certificate."
            text = f"the management API is not trusted, or does not use TLS ({why}),"
            return self._failed(text, remedy, ManagementUnavailableError)
        why = error.strerror or error
        text = f"the management API does not answer ({why})"
        return self._failed(text, ENABLE, ManagementUnavailableError)

    def _refused(self, answer: Answer, method: str) -> ManagementError:
        """Return the error for a response with an error status or a redirect."""
        reason, code = answer.reason, answer.status
        if code in {401, 403}:
            because = f"{code}: {reason}" if reason else str(code)
            return self._failed(
                f"the management API refused the user {self.user!r} ({because})",
                self._admission("management" if method == "GET" else "policymaker"),
            )
        if code == http.client.NOT_FOUND:
            return self._failed(
                f"there is no management API, or no virtual host {self.virtual_host!r:.80},", ENABLE
            )
        if code < http.client.BAD_REQUEST:
            return self._failed(
                f"the management API answers {code}, a redirect to"
                f" {redacted(answer.location)!r:.200},",
                "It is not followed, because the credentials would be sent there. Set"
                " STEM_MANAGEMENT_URL to the final address.",
            )
        return self._failed(f"the management API answers {code}" + (reason and f": {reason}"))

    def _admission(self, tag: str) -> str:
        """Return the remedy for a user without access."""
        enough = " (or monitoring)" if tag == "management" else ""
        return (
            f"The user needs the right password, the tag {tag!r}{enough}, and permissions on the"
            f" virtual host {self.virtual_host!r}:\n"
            f"    rabbitmqctl set_user_tags {self.user} {tag}    # replaces its present tags\n"
            f"  Or use another user than the broker's:"
            " STEM_MANAGEMENT_URL=http://user:password@host:15672"
        )

    def _unusable(self, why: str) -> ManagementError:
        return self._failed(f"the management API sent an invalid response ({why:.300})")

    def _failed(
        self, what: str, remedy: str = "", kind: type[ManagementError] = ManagementError
    ) -> ManagementError:
        return kind(f"{what} at {redacted(self.url)}" + (f"\n  {remedy}" if remedy else ""))
