"""The demo's payment gateway and its orders."""

import asyncio

import pytest

from examples.orders import payments
from examples.orders.gateway import Gateway
from examples.orders.shop import PARTS, Kind, make_orders
from examples.orders.tasks import RELEASE, price, sync_order
from stem_amqp.errors import ArgumentsError

WISH = {"amount": 100, "currency": "EUR", "card": "visa"}


def answers(gateway, keys, wish=None):
    """Return the status of each request; requests are sent below the rate limit."""
    return [gateway.answer(key, wish or WISH, number).status for number, key in enumerate(keys)]


def test_one_request_in_ten_fails_and_half_of_those_take_the_money():
    """The share is correct, and some requests are charged although the answer is 503."""
    gateway = Gateway(seed=1)
    statuses = answers(gateway, [f"k-{number}" for number in range(2000)])
    assert statuses.count(503) == gateway.failed == pytest.approx(200, rel=0.2)
    assert len(gateway.ledger) - statuses.count(200) == pytest.approx(100, rel=0.3)


def test_the_same_seed_fails_the_same_requests():
    """The demo can be repeated."""
    keys = [f"k-{number}" for number in range(200)]
    first, again = answers(Gateway(seed=5), keys), answers(Gateway(seed=5), keys)
    assert first == again
    assert first != answers(Gateway(seed=6), keys)


def test_a_key_is_charged_once_however_often_it_is_asked_for():
    """The idempotency key prevents a second charge."""
    gateway = Gateway(seed=1)
    statuses = answers(gateway, ["k"] * 50)
    assert statuses.count(200) > 30
    assert [charge.key for charge in gateway.ledger] == ["k"]
    assert gateway.repeated > 30


def test_a_declined_card_is_never_charged():
    """Its requests fail or are declined, and the ledger stays empty."""
    gateway = Gateway(seed=1)
    statuses = answers(
        gateway, [f"k-{number}" for number in range(200)], WISH | {"card": "declined"}
    )
    assert set(statuses) == {402, 503}
    assert gateway.ledger == []


def test_requests_above_the_rate_are_refused():
    """A burst may have the requests of a quarter of a second; over time, the rate is the limit."""
    gateway = Gateway(rate=80, failures=0)
    assert [gateway.answer(f"k-{n}", WISH, 1.0).status for n in range(30)].count(200) == 20
    later = [gateway.answer(f"l-{n}", WISH, 1.0 + n / 400).status for n in range(1, 401)]
    assert later.count(200) == pytest.approx(80, abs=2)


class StillGateway(Gateway):
    """Its clock stands still: on a slow machine, its rate would allow a further request."""

    def answer(self, key, wish, now):
        return super().answer(key, wish, 1.0)


async def test_the_client_says_what_the_gateway_meant(monkeypatch):
    """Each answer becomes a receipt or its own exception; the sync client runs in a thread."""
    async with StillGateway(seed=1, failures=0, rate=8, latency=(0, 0)) as gateway:
        monkeypatch.setenv(payments.GATEWAY, gateway.url)
        assert await asyncio.to_thread(payments.charge, "a", 100, "EUR", "visa") == "ch_00001"
        with pytest.raises(payments.CardDeclinedError):
            await asyncio.to_thread(payments.charge, "b", 100, "EUR", "declined")
        with pytest.raises(payments.GatewayBusyError) as busy:
            await asyncio.to_thread(payments.charge, "c", 100, "EUR", "visa")
        assert busy.value.retry_after == 1
        assert [(one.key, one.amount, one.currency) for one in gateway.ledger] == [
            ("a", 100, "EUR")
        ]
    async with Gateway(failures=1, latency=(0, 0)) as gateway:
        monkeypatch.setenv(payments.GATEWAY, gateway.url)
        with pytest.raises(payments.GatewayUnavailableError, match="503"):
            await asyncio.to_thread(payments.charge, "d", 100, "EUR", "visa")
    with pytest.raises(payments.GatewayUnavailableError, match="no answer"):
        await asyncio.to_thread(payments.charge, "e", 100, "EUR", "visa")


async def test_the_gateway_refuses_what_is_no_charge():
    """Invalid requests are answered, and do not end the gateway."""
    async with Gateway(latency=(0, 0)) as gateway:
        host, port = gateway.url.removeprefix("http://").split(":")
        for nonsense in (
            b"GET / HTTP/1.1\r\n\r\n",
            b"\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: x",
        ):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(nonsense)
            writer.write_eof()
            assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
            writer.close()
        assert gateway.requests == 0


def test_orders_are_of_every_kind_and_the_same_for_a_seed():
    """The shares are right for a thousand orders, and ten orders have at least one of each kind."""
    orders = make_orders(1000, seed=2)
    assert orders == make_orders(1000, seed=2)
    assert len({order.id for order in orders}) == 1000
    for kind, part in PARTS.items():
        assert sum(order.kind is kind for order in orders) == round(1000 * part)
    assert {order.kind for order in make_orders(10, seed=2)} == set(Kind)


def test_only_invalid_orders_do_not_fit_the_task():
    """The task's arguments refuse exactly the orders that the shop sends as invalid."""
    for order in make_orders(300, seed=3):
        sync_order.prepare(**order.right)
        if order.kind is Kind.INVALID:
            with pytest.raises(ArgumentsError, match="amount"):
                sync_order.prepare(**order.sent)
        else:
            assert order.sent == order.right


def test_release_1_cannot_write_a_receipt_in_yen(monkeypatch):
    """This is the bug of the demo, which the next release fixes."""
    assert price(1999, "EUR") == "19.99 EUR"
    assert price(1999, "JPY") == "1999 JPY"
    monkeypatch.setenv(RELEASE, "1")
    assert price(1999, "USD") == "19.99 USD"
    with pytest.raises(KeyError, match="JPY"):
        price(1999, "JPY")


def test_without_a_gateway_the_task_is_a_plain_function(monkeypatch):
    """The application of the README works without the demo."""
    monkeypatch.delenv(payments.GATEWAY, raising=False)
    assert sync_order(order_id="42") == "ch_test_42: 19.99 EUR"
