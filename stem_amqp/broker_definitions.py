"""What stands on a virtual host, by the management API's export of definitions."""

from __future__ import annotations

import base64
import urllib.error
import urllib.parse
import urllib.request

from stem_amqp.errors import BrokerError, BrokerUnavailableError
from stem_amqp.management import Management
from stem_amqp.settings import redacted

TIMEOUT = 30.0
"""Seconds to wait for the answer; a virtual host may have thousands of queues."""


def fetch_definitions(management: Management) -> str:
    """Return the definitions of a virtual host as JSON.

    Args:
        management: the API, its user and the virtual host.

    Raises:
        BrokerUnavailableError: the API does not answer.
        BrokerError: it refuses.
    """
    host = urllib.parse.quote(management.virtual_host, safe="")
    token = base64.b64encode(f"{management.user}:{management.password}".encode()).decode()
    request = urllib.request.Request(  # noqa: S310 - Management.of lets only HTTP pass
        f"{management.url}/api/definitions/{host}", headers={"Authorization": f"Basic {token}"}
    )
    where = redacted(management.url)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:  # noqa: S310
            return str(response.read(), "utf-8")
    except urllib.error.HTTPError as error:
        raise BrokerError(
            f"the management API at {where} answers {error.code} for the definitions of the virtual"
            f" host {management.virtual_host}\n"
            "  The user needs permissions there and the tag policymaker or administrator; check"
            " the user, and --vhost."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "reason", None) or error
        raise BrokerUnavailableError(
            f"the management API at {where} does not answer: {reason}\n"
            "  Check the URL, such as http://user:password@host:15672, and that the plugin"
            " rabbitmq_management is enabled."
        ) from None
