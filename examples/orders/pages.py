"""The text that the demo prints between the bars: headings, the broker, the outcome."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from examples.orders.account import PROBLEMS_SHOWN, Account
from examples.orders.gateway import Gateway
from stem_amqp.text import count

TEXT_WIDTH = 100
MODULE = re.compile(r"^(?:\w+\.)+")
"""Matches the module before an exception's name."""


def show_heading(console: Console, title: str, text: str) -> None:
    """Print the heading of a chapter and its description."""
    console.print()
    console.rule(Text(title, style="bold"), align="left", style="dim")
    console.print(text, width=min(console.width, TEXT_WIDTH))
    console.print()


def show_settings(console: Console, settings: dict[str, str]) -> None:
    """Print names and values in rows."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    for name, value in settings.items():
        table.add_row(name, value)
    console.print(table, width=min(console.width, TEXT_WIDTH))


def show_account(console: Console, account: Account, orders: int, gateway: Gateway) -> None:
    """Print the outcome, and whether every order is accounted for.

    Args:
        console: the console to write to.
        account: the outcome.
        orders: the number of enqueued orders.
        gateway: the gateway with the ledger.
    """
    for line in _lines(account, orders):
        console.print(line, no_wrap=True, overflow="ellipsis")
    console.print()
    console.print(
        f"The gateway's ledger: {len(gateway.ledger):,} payments out of {gateway.requests:,}"
        f" requests. {gateway.failed:,} requests failed, {gateway.refused:,} were refused, and"
        f" {gateway.repeated:,} asked for money that had been taken before, and took none.",
        width=min(console.width, TEXT_WIDTH),
    )
    console.print()
    if account.copies:
        console.print(
            f"{count(account.copies, 'dead letter')} of the killed worker, whose tasks ran again: delivery"
            " is at least once.",
            width=min(console.width, TEXT_WIDTH),
        )
        console.print()
    for problem in account.problems[:PROBLEMS_SHOWN]:
        console.print(f"✗ {problem}", style="red")
    if account.problems:
        console.print(
            f"The count does not match: {len(account.problems):,} problems.", style="bold red"
        )
    else:
        text = f"✓ {orders:,} in, {account.total:,} accounted for; no payment missing, none made twice."
        console.print(text, style="bold green")


def _lines(account: Account, orders: int) -> Iterator[Text]:
    yield Text(f"{account.succeeded:>7,}  paid", style="bold green")
    for words, number in account.paid.items():
        yield Text.assemble(f"{number:>14,}  ", (words, "green"))
    yield Text(f"{account.dead_letters:>7,}  dead letters", style="bold red")
    for (reason, error), number in account.dead.items():
        short = MODULE.sub("", error)
        yield Text.assemble(f"{number:>14,}  ", (f"{reason:<18} ", "red"), (short, "dim"))
    yield Text("  ─────", style="dim")
    yield Text(f"{account.total:>7,}  of {orders:,} orders", style="bold")
