"""A small client of RabbitMQ's management API, for what AMQP cannot tell or do."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from stem_amqp.errors import ConfigurationError, ManagementError
from stem_amqp.settings import Settings, redacted

DEFAULT_PORT = 15672
ENABLE = (
    "Enable it (rabbitmq-plugins enable rabbitmq_management), or say where it is:"
    " STEM_MANAGEMENT_URL=http://user:password@host:15672"
)
"""What to do where it does not answer."""
TIMEOUT = 3.0
"""Seconds to wait for an answer: the numbers are an addition, and nobody should wait for them."""
_PAGE = 500
"""Queues in one answer; RabbitMQ's own limit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unsettled:
    """How many deliveries of each queue are with consumers.

    Args:
        counts: by the queue's name on the broker; RabbitMQ refreshes them every 5 seconds.
            None if they are not known.
        reason: why they are not known.
    """

    counts: Mapping[str, int] | None
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Management:
    """The management API of one broker.

    Args:
        url: such as ``http://host:15672``, without credentials.
        user: the user's name.
        password: the password.
        virtual_host: the virtual host whose queues are asked for.
    """

    url: str
    user: str
    password: str = field(repr=False)
    virtual_host: str = "/"

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the API that the settings name, or the one beside the first broker.

        Credentials and virtual host are the broker's, unless the management URL has its own.

        Raises:
            ConfigurationError: the management URL cannot be used.
        """
        broker = urllib.parse.urlsplit(settings.broker_url[0].get_secret_value())
        user, password = broker.username, broker.password
        url = f"http://{_host(broker)}:{DEFAULT_PORT}"
        if settings.management_url is not None:
            text = settings.management_url.get_secret_value()
            own = urllib.parse.urlsplit(text)
            if own.scheme not in {"http", "https"} or not own.hostname:
                raise ConfigurationError(
                    f"STEM_MANAGEMENT_URL is {redacted(text)!r}, which is no such URL\n"
                    "  Write http://host:15672, or https:// where it has TLS."
                )
            if own.username:
                user, password = own.username, own.password
            port = f":{own.port}" if own.port else ""
            url = f"{own.scheme}://{_host(own)}{port}{own.path.rstrip('/')}"
        return cls(
            url=url,
            user=urllib.parse.unquote(user or "guest"),
            password=urllib.parse.unquote(password or "guest"),
            virtual_host=urllib.parse.unquote(broker.path[1:]) or "/",
        )

    async def unsettled(self, prefix: str) -> Unsettled:
        """Ask how many deliveries of each queue are not settled yet.

        Args:
            prefix: the beginning of the queues' names, such as ``stem.``.
        """
        try:
            found = await self.listing("queues", prefix, "name,messages_unacknowledged")
        except ManagementError as error:
            return Unsettled(counts=None, reason=str(error).partition("\n")[0])
        return Unsettled(
            counts={
                queue["name"]: int(queue["messages_unacknowledged"])
                for queue in found
                # without statistics, which can be switched off, or for a queue that is a second old
                if "messages_unacknowledged" in queue
            }
        )

    async def listing(self, kind: str, prefix: str, columns: str) -> list[dict[str, Any]]:
        """Return the queues or exchanges of the virtual host whose names begin so, on all pages.

        Args:
            kind: ``queues`` or ``exchanges``.
            prefix: the beginning of their names; empty: all of them.
            columns: what to tell of each, separated by commas.

        Raises:
            ManagementError: the API does not answer, or refuses.
        """
        return await asyncio.to_thread(self._pages, kind, prefix, columns)

    async def get(self, *path: str) -> Any:
        """Return what is at a path, below ``/api``.

        Args:
            *path: its parts, such as ``policies`` and the virtual host, without escapes.

        Raises:
            ManagementError: the API does not answer, or refuses.
        """
        return await asyncio.to_thread(self._ask, "GET", path)

    async def put(self, *path: str, content: Mapping[str, Any]) -> None:
        """Write what is at a path, below ``/api``.

        Args:
            *path: its parts, without escapes.
            content: JSON values.

        Raises:
            ManagementError: the API does not answer, or refuses.
        """
        await asyncio.to_thread(self._ask, "PUT", path, content)

    async def delete(self, *path: str) -> None:
        """Delete what is at a path, below ``/api``.

        Args:
            *path: its parts, without escapes.

        Raises:
            ManagementError: the API does not answer, or refuses.
        """
        await asyncio.to_thread(self._ask, "DELETE", path)

    def _pages(self, kind: str, prefix: str, columns: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        page, pages = 0, 1
        while page < pages:
            page += 1
            answer = self._ask(
                "GET",
                (kind, self.virtual_host),
                page=page,
                page_size=_PAGE,
                name=f"^{re.escape(prefix)}",
                use_regex="true",
                columns=columns,
            )
            try:
                pages = answer["page_count"]
                found += answer["items"]
            except (KeyError, TypeError) as error:
                raise self._unusable(error) from error
        return found

    def _ask(
        self,
        method: str,
        path: tuple[str, ...],
        content: Mapping[str, Any] | None = None,
        **query: Any,
    ) -> Any:
        parts = "/".join(urllib.parse.quote(part, safe="") for part in path)
        url = f"{self.url}/api/{parts}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
        token = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        request = urllib.request.Request(  # noqa: S310 - of() lets only HTTP pass
            url,
            method=method,
            data=None if content is None else json.dumps(content).encode(),
            headers={"Authorization": f"Basic {token}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as response:  # noqa: S310
                body = response.read()
                return json.loads(body) if body else None
        except urllib.error.HTTPError as error:
            raise self._refused(error, method) from None
        except urllib.error.URLError as error:
            why = getattr(error.reason, "strerror", None) or error.reason
            raise self._failed(f"the management API does not answer ({why})", ENABLE) from None
        except (OSError, ValueError) as error:
            raise self._unusable(error) from error

    def _refused(self, error: urllib.error.HTTPError, method: str) -> ManagementError:
        """Say what an answer means that is none."""
        said = _reason(error)
        if error.code in {401, 403}:
            because = f"{error.code}: {said}" if said else str(error.code)
            return self._failed(
                f"the management API refused the user {self.user!r} ({because})",
                self._admission("management" if method == "GET" else "policymaker"),
            )
        if error.code == 404:  # noqa: PLR2004 - HTTP's not found
            return self._failed("there is no management API, or no such virtual host,", ENABLE)
        return self._failed(f"the management API answers {error.code}" + (said and f": {said}"))

    def _admission(self, tag: str) -> str:
        """Say what a user needs to be let in."""
        enough = " (monitoring is as good)" if tag == "management" else ""
        return (
            f"A user needs the right password, the tag {tag!r}{enough}, and permissions on the"
            f" virtual host {self.virtual_host!r}:\n"
            f"    rabbitmqctl set_user_tags {self.user} {tag}    # instead of the tags it has\n"
            f"  or another user than the broker's:"
            " STEM_MANAGEMENT_URL=http://user:password@host:15672"
        )

    def _unusable(self, error: Exception) -> ManagementError:
        return self._failed(f"the management API gives no usable answer ({error!r})")

    def _failed(self, what: str, remedy: str = "") -> ManagementError:
        return ManagementError(
            f"{what} at {redacted(self.url)}" + (f"\n  {remedy}" if remedy else "")
        )


def _reason(error: urllib.error.HTTPError) -> str:
    """Return the reason that RabbitMQ gives, or nothing."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return str(json.loads(error.read()).get("reason", ""))
    return ""


def _host(url: urllib.parse.SplitResult) -> str:
    host = url.hostname or "localhost"
    return f"[{host}]" if ":" in host else host
