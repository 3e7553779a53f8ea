"""Checks and errors of groups that all backends share."""

from __future__ import annotations

from stem_amqp.errors import ConfigurationError, ResultUnavailableError

PAGE_MEMBERS = 10_000
"""Members of one page, at most."""


def check_size(group_id: str, size: int, limit: int | None = None) -> None:
    """Check the size of a group.

    Args:
        group_id: the group.
        size: its number of members.
        limit: the backend's limit; None if it has none.

    Raises:
        ConfigurationError: it is negative, or exceeds the limit.
    """
    if size < 0:
        raise ConfigurationError(f"group {group_id} cannot have {size} members: 0 is the least")
    if limit is not None and size > limit:
        raise ConfigurationError(
            f"group {group_id} has {size:,} members, and this result backend can count {limit:,}."
            "\n  Set STEM_BACKEND_URL to redis://, postgresql:// or sqlite:///, the same for producers"
            " and workers, or make several smaller groups."
        )


def check_same_size(group_id: str, size: int, existing: int, *, sealed: bool) -> None:
    """Check that an existing group has the requested size; an open one may have grown since.

    Args:
        group_id: the group.
        size: the requested size.
        existing: the size of the existing group.
        sealed: whether a sealed group is requested.

    Raises:
        ConfigurationError: it has another size.
    """
    if existing < size or (sealed and existing != size):
        raise ConfigurationError(
            f"group {group_id} exists with {existing} members and cannot be created with {size}."
            "\n  Give each group an id of its own."
        )


def check_count(group_id: str, count: int) -> None:
    """Check the number of members that are added to a group.

    Raises:
        ConfigurationError: it is less than 1.
    """
    if count < 1:
        raise ConfigurationError(f"at least 1 member can be added to group {group_id}, not {count}")


def check_page(after: int, limit: int) -> None:
    """Check the arguments of a page of members.

    Raises:
        ConfigurationError: the limit is not in the range of 1 to `PAGE_MEMBERS`, or the place is invalid.
    """
    if not 1 <= limit <= PAGE_MEMBERS:
        raise ConfigurationError(
            f"a page has 1 to {PAGE_MEMBERS:,} members of a group, not {limit}"
        )
    if after < -1:
        raise ConfigurationError(
            f"no member of a group has the index {after}: -1 is before the first"
        )


def sealed_group(group_id: str) -> ConfigurationError:
    """Return the error for members that are added to a sealed group."""
    return ConfigurationError(
        f"no members can be added to group {group_id}: it is sealed.\n"
        "  Add them before it is sealed, or begin another group."
    )


def unknown_group(group_id: str) -> ResultUnavailableError:
    """Return the error for a group that does not exist."""
    return ResultUnavailableError(
        f"there is no group {group_id}: it was never created, or its TTL has passed."
        "\n  Create it before its members are enqueued, with a TTL longer than they take."
    )


def unknown_member(group_id: str, index: int) -> ResultUnavailableError:
    """Return the error for the report of a member of an unknown group, or with an invalid index."""
    return ResultUnavailableError(
        f"there is no member {index} of group {group_id}: the group was never created, its TTL has"
        " passed, or it has fewer members.\n"
        "  Create it before its members are enqueued, with a TTL longer than they take."
    )
