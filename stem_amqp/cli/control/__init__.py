"""``stem-amqp control``: commands to the workers of a namespace, one module for each kind.

``--json`` prints an object: ``command``, ``nonce``, ``issuer``, ``at``, ``answers`` (objects with ``worker``,
``host``, ``pid``, ``seconds``, ``error`` and ``value``: the fields of the answer), ``unanswered`` (objects with
``worker``, ``host``, ``pid`` and ``why``), ``silent`` (by queue, the number of consumers whose worker is not
known) and ``stored`` (where a lasting command is kept, or an empty text).
"""

from stem_amqp.cli.control.group import app

__all__ = ["app"]
