"""A small, read-only client of RabbitMQ's management API, for what AMQP cannot tell.

It is never needed: every failure is an answer with a reason, not an exception.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from stem_amqp.errors import ConfigurationError
from stem_amqp.settings import Settings, redacted

DEFAULT_PORT = 15672
TIMEOUT = 3.0
"""Seconds to wait for an answer: the numbers are an addition, and nobody should wait for them."""
_PAGE = 500
"""Queues in one answer; RabbitMQ's own limit."""
_STATUS = {
    401: "the management API refuses the user, who needs the tag 'monitoring',",
    404: "there is no management API, or no such virtual host,",
}


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
            return Unsettled(counts=await asyncio.to_thread(self._unsettled, prefix))
        except urllib.error.HTTPError as error:
            reason = _STATUS.get(error.code, f"the management API answers {error.code}")
        except urllib.error.URLError as error:
            why = getattr(error.reason, "strerror", None) or error.reason
            reason = f"the management API does not answer ({why})"
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = f"the management API gives no usable answer ({error!r})"
        return Unsettled(counts=None, reason=f"{reason} at {redacted(self.url)}")

    def _unsettled(self, prefix: str) -> dict[str, int]:
        return {
            queue["name"]: int(queue["messages_unacknowledged"])
            for queue in self._queues(f"^{re.escape(prefix)}")
            # without statistics, which can be switched off, or for a queue that is a second old
            if "messages_unacknowledged" in queue
        }

    def _queues(self, pattern: str) -> Iterator[dict[str, Any]]:
        page, pages = 0, 1
        while page < pages:
            page += 1
            answer = self._get(
                f"/api/queues/{urllib.parse.quote(self.virtual_host, safe='')}",
                page=page,
                page_size=_PAGE,
                name=pattern,
                use_regex="true",
                columns="name,messages_unacknowledged",
            )
            pages = answer["page_count"]
            yield from answer["items"]

    def _get(self, path: str, **query: Any) -> Any:
        url = f"{self.url}{path}?{urllib.parse.urlencode(query)}"
        token = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        request = urllib.request.Request(url, headers={"Authorization": f"Basic {token}"})  # noqa: S310 - of() lets only HTTP pass
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:  # noqa: S310
            return json.load(response)


def _host(url: urllib.parse.SplitResult) -> str:
    host = url.hostname or "localhost"
    return f"[{host}]" if ":" in host else host
