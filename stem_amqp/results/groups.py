"""What every backend says about groups that are not as they should be."""

from __future__ import annotations

from stem_amqp.errors import ConfigurationError, ResultUnavailableError


def check_size(group_id: str, size: int) -> None:
    """Make sure that a group can have a size.

    Raises:
        ConfigurationError: it is less than 1.
    """
    if size < 1:
        raise ConfigurationError(f"group {group_id} must have at least one member, not {size}")


def check_same_size(group_id: str, size: int, existing: int) -> None:
    """Make sure that a group that is there is the one that is asked for.

    Raises:
        ConfigurationError: it has another size.
    """
    if size != existing:
        raise ConfigurationError(
            f"group {group_id} exists with {existing} members and cannot be created with {size}."
            "\n  Give each group an id of its own."
        )


def unknown_group(group_id: str) -> ResultUnavailableError:
    """Return the error for a group that is not there."""
    return ResultUnavailableError(
        f"there is no group {group_id}: it was never created, or its TTL has passed."
        "\n  Create it before its members are enqueued, with a TTL longer than they take."
    )
