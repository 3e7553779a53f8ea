"""What stands on a virtual host, by the management API.

Asked list by list: the API's export of definitions is for administrators alone, and these lists are
for whoever may look.
"""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from stem_amqp.errors import BrokerError, BrokerUnavailableError
from stem_amqp.management import Management
from stem_amqp.settings import redacted
from stem_amqp.topology.definitions import OPERATOR_POLICY

TIMEOUT = 30.0
"""Seconds to wait for an answer; a virtual host may have thousands of queues."""
_COLUMNS = {
    "exchanges": "name,type,durable,auto_delete,internal,arguments",
    "queues": "name,type,durable,auto_delete,arguments",
    "bindings": "source,destination,destination_type,routing_key,arguments",
    "policies": "name,pattern,apply-to,definition,priority",
    "operator-policies": "name,pattern,apply-to,definition,priority",
}


def fetch_definitions(management: Management) -> dict[str, Any]:
    """Return the definitions of a virtual host, as a definitions file has them.

    Args:
        management: the API, its user and the virtual host.

    Raises:
        BrokerUnavailableError: the API does not answer.
        BrokerError: it refuses, or has no such virtual host.
    """
    lists = {kind: _fetch(management, kind, columns) for kind, columns in _COLUMNS.items()}
    limits = lists.pop("operator-policies")
    return {
        **lists,
        "parameters": [
            {"component": OPERATOR_POLICY, "name": policy["name"], "value": policy}
            for policy in limits
        ],
    }


def _fetch(management: Management, kind: str, columns: str) -> list[dict[str, Any]]:
    host = urllib.parse.quote(management.virtual_host, safe="")
    token = base64.b64encode(f"{management.user}:{management.password}".encode()).decode()
    request = urllib.request.Request(  # noqa: S310 - Management.of lets only HTTP pass
        f"{management.url}/api/{kind}/{host}?columns={columns}",
        headers={"Authorization": f"Basic {token}"},
    )
    where = redacted(management.url)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:  # noqa: S310
            answer: list[dict[str, Any]] = json.load(response)
            return answer
    except urllib.error.HTTPError as error:
        raise BrokerError(
            f"the management API at {where} answers {error.code} for the {kind} of the virtual"
            f" host {management.virtual_host}\n"
            "  Check the virtual host's name, and that the user has permissions there and the tag"
            " management."
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise BrokerUnavailableError(
            f"the management API at {where} does not answer: {reason}\n"
            "  Check the URL, such as http://user:password@host:15672, and that the plugin"
            " rabbitmq_management is enabled."
        ) from None
