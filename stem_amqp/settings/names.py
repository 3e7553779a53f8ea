"""Valid names of namespaces, queues and tasks."""

from __future__ import annotations

import re

NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
"""The pattern of these names: dotted words, so that topic patterns can match them."""
NAME_LIMIT = 120
"""The longest name in characters: RabbitMQ limits routing keys and names to 255 bytes."""
