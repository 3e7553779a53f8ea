"""A payment gateway that fails: a real HTTP server, with a ledger of the money it took.

One request in ten is answered with 503, and half of those *after* the money was taken: a client that
repeats such a request without an idempotency key charges twice. Above its rate it answers 429.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

HEAD_LIMIT = 16 * 1024
PATIENCE = 5.0
"""Seconds within which a request must arrive."""
REASONS = {
    200: "OK",
    400: "Bad Request",
    402: "Payment Required",
    429: "Too Many Requests",
    503: "Service Unavailable",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Charge:
    """A charge that was made.

    Args:
        id: id of the charge.
        key: the idempotency key, which is the order's id.
        amount: in the smallest unit of the currency.
        currency: such as ``EUR``.
    """

    id: str
    key: str
    amount: int
    currency: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The answer to a request."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


class Gateway:
    """The payment gateway; ``async with`` starts and stops it.

    Args:
        seed: determines which requests fail.
        failures: fraction of the requests that fail, 0 to 1.
        rate: highest number of requests per second.
        latency: shortest and longest time of an answer, in seconds.
    """

    def __init__(
        self,
        *,
        seed: int = 1,
        failures: float = 0.1,
        rate: int = 80,
        latency: tuple[float, float] = (0.02, 0.08),
    ) -> None:
        self.ledger: list[Charge] = []
        self.requests = self.failed = self.refused = self.repeated = self.declined = 0
        self.url = ""
        self._seed = seed
        self._failures = failures
        self._rate = rate
        self._latency = latency
        self._known: dict[str, Charge] = {}
        self._tries: Counter[str] = Counter()
        self._credit, self._credited_at = float(rate) / 4, 0.0
        self._server: asyncio.Server | None = None
        self._answering: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=HEAD_LIMIT)
        self.url = "http://{}:{}".format(*self._server.sockets[0].getsockname()[:2])
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._answering:
            task.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)

    def answer(self, key: str, wish: Mapping[str, Any], now: float) -> Answer:
        """Answer one request.

        Args:
            key: the idempotency key.
            wish: the requested amount, currency and card.
            now: seconds of a monotonic clock.
        """
        self.requests += 1
        if not self._admits(now):
            self.refused += 1
            return Answer(
                status=429, body={"error": "too many requests"}, headers={"Retry-After": "1"}
            )
        self._tries[key] += 1
        dice = random.Random(f"{self._seed} {key} {self._tries[key]}")
        fails, paid_all_the_same = dice.random() < self._failures, dice.random() < 1 / 2
        if wish.get("card") == "declined" and not fails:
            self.declined += 1
            return Answer(status=402, body={"error": "card declined"})
        if fails:
            self.failed += 1
        if fails and not (paid_all_the_same and wish.get("card") != "declined"):
            return Answer(status=503, body={"error": "try again"})
        charge = self._charge(key, wish)
        if fails:
            return Answer(status=503, body={"error": "the answer was lost"})
        return Answer(status=200, body={"id": charge.id})

    def _admits(self, now: float) -> bool:
        if self._credited_at:
            earned = (now - self._credited_at) * self._rate
            self._credit = min(self._credit + earned, self._rate / 4)
        self._credited_at = now
        if self._credit < 1:
            return False
        self._credit -= 1
        return True

    def _charge(self, key: str, wish: Mapping[str, Any]) -> Charge:
        known = self._known.get(key)
        if known is not None:
            self.repeated += 1
            return known
        charge = Charge(
            id=f"ch_{len(self.ledger) + 1:05d}",
            key=key,
            amount=int(wish["amount"]),
            currency=str(wish["currency"]),
        )
        self._known[key] = charge
        self.ledger.append(charge)
        return charge

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)
        try:
            async with asyncio.timeout(PATIENCE):
                key, wish = await _read(reader)
            await asyncio.sleep(random.uniform(*self._latency))
            answer = self.answer(key, wish, asyncio.get_running_loop().time())
            writer.write(_written(answer))
            await writer.drain()
        except (OSError, ValueError, TimeoutError, asyncio.IncompleteReadError):
            writer.write(_written(Answer(status=400, body={"error": "bad request"})))
        finally:
            writer.close()


async def _read(reader: asyncio.StreamReader) -> tuple[str, Mapping[str, Any]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    fields = (line.partition(":") for line in head.split("\r\n")[1:])
    headers = {name.strip().lower(): value.strip() for name, _, value in fields}
    body = json.loads(await reader.readexactly(int(headers.get("content-length", 0))))
    if not isinstance(body, dict) or "idempotency-key" not in headers:
        raise ValueError("no charge")
    return headers["idempotency-key"], body


def _written(answer: Answer) -> bytes:
    body = json.dumps(answer.body).encode()
    headers = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Connection": "close",
        **answer.headers,
    }
    lines = [f"HTTP/1.1 {answer.status} {REASONS[answer.status]}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
