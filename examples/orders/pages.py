"""What the demo prints between the bars: headings, the broker, the account."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from examples.orders.account import PROBLEMS_SHOWN, Account
from examples.orders.gateway import Gateway

TEXT_WIDTH = 100
MODULE = re.compile(r"^(?:\w+\.)+")
"""The module in front of an exception's name."""


def show_heading(console: Console, title: str, text: str) -> None:
    """Print the heading of a chapter, with what is going to happen."""
    console.print()
    console.rule(Text(title, style="bold"), align="left", style="dim")
    console.print(text, width=min(console.width, TEXT_WIDTH))
    console.print()


def show_settings(console: Console, settings: dict[str, str]) -> None:
    """Print names and values below each other."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    for name, value in settings.items():
        table.add_row(name, value)
    console.print(table, width=min(console.width, TEXT_WIDTH))


def show_account(console: Console, account: Account, orders: int, gateway: Gateway) -> None:
    """Print an account, and whether it closes.

    Args:
        console: where to write.
        account: the account.
        orders: how many orders went in.
        gateway: whose ledger it was compared with.
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
    for problem in account.problems[:PROBLEMS_SHOWN]:
        console.print(f"✗ {problem}", style="red")
    if account.problems:
        console.print(
            f"The account does not close: {len(account.problems):,} problems.", style="bold red"
        )
    else:
        text = f"✓ {orders:,} in, {account.total:,} accounted for; no payment missing, none made twice."
        console.print(text, style="bold green")


def _lines(account: Account, orders: int) -> Iterator[Text]:
    yield Text(f"{account.succeeded:>7,}  paid", style="bold green")
    for words, count in account.paid.items():
        yield Text.assemble(f"{count:>14,}  ", (words, "green"))
    yield Text(f"{account.dead_letters:>7,}  dead letters", style="bold red")
    for (reason, error), count in account.dead.items():
        short = MODULE.sub("", error)
        yield Text.assemble(f"{count:>14,}  ", (f"{reason:<18} ", "red"), (short, "dim"))
    yield Text("  ─────", style="dim")
    yield Text(f"{account.total:>7,}  of {orders:,} orders", style="bold")
