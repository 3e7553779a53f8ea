"""Redact the secrets in URLs, for logs, errors and all other output."""

from __future__ import annotations

import re

HIDDEN = "***"
_SHOWN_PARAMETERS = frozenset(
    {
        "application_name", "ca", "cafile", "cert", "certfile", "connect_timeout", "db", "dbname",
        "heartbeat", "host", "keyfile", "pool_size", "pooler", "port", "private", "sslcert",
        "sslkey", "sslmode", "sslrootcert", "target_session_attrs", "timeout", "user",
    }
)  # fmt: skip
"""Query parameters that contain no secret. The values of all others are hidden: a list of secret
parameters would never be complete."""
_AMBIGUOUS = frozenset("?#")
"""Characters before an ``@`` that make the end of the password ambiguous."""
_NOT_IN_A_LOGIN = frozenset("@/\\ ")
_SCHEME_LENGTH = 32
_SCHEME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+.-")
_END_OF_URL = re.compile(r"[\s\"'`<>]|\Z")


def redacted(url: str) -> str:
    """Return a URL without its password and the values of its query.

    Everything before the last ``@`` counts as user and password, since a password that is not
    percent-encoded may contain any of ``: / ? # @``. The user name is shown only if it is unambiguous.

    Args:
        url: a URL of any scheme, or a malformed one.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        # Not a URL: most likely a malformed one, or a list of parameters
        rest, place = "", url
        return _after_login(place.rpartition("@"), plain=False) if "@" in place else _no_url(place)
    return f"{scheme}://{_after_login(rest.rpartition('@'), plain=True)}"


def without_secrets(text: str) -> str:
    """Return a text in which each URL is redacted.

    Args:
        text: for example, the error message of a client library.
    """
    if "://" not in text:
        return text
    parts: list[str] = []
    done = 0
    while (mark := text.find("://", done)) >= 0:
        begin = _scheme_begin(text, mark, done)
        end_match = _END_OF_URL.search(text, mark)
        end = len(text) if end_match is None else end_match.start()
        parts += (text[done:begin], redacted(text[begin:end]))
        done = end
    return "".join((*parts, text[done:]))


def _scheme_begin(text: str, mark: int, lowest: int) -> int:
    begin = mark
    while begin > max(lowest, mark - _SCHEME_LENGTH) and text[begin - 1] in _SCHEME_CHARACTERS:
        begin -= 1
    return begin


def _no_url(text: str) -> str:
    return HIDDEN if "=" in text else text


def _after_login(parts: tuple[str, str, str], *, plain: bool) -> str:
    """Return the redacted part after the scheme.

    Args:
        parts: user and password, ``@``, and the rest.
        plain: whether the user name may be shown.
    """
    login, at, place = parts
    if not at:
        return _place(place)
    if not _AMBIGUOUS.isdisjoint(login):
        return HIDDEN
    user, colon, password = login.partition(":")
    certain = plain and colon and password and _NOT_IN_A_LOGIN.isdisjoint(login)
    return f"{user + ':' if certain else ''}{HIDDEN}@{_place(place)}"


def _place(place: str) -> str:
    place, hash_mark, _ = place.partition("#")
    path, question_mark, query = place.partition("?")
    shown = path + question_mark + "&".join(map(_parameter, query.split("&")))
    return shown + (f"#{HIDDEN}" if hash_mark else "")


def _parameter(text: str) -> str:
    name, equals, _ = text.partition("=")
    if not text or (equals and name.lower() in _SHOWN_PARAMETERS and ";" not in text):
        return text
    return f"{name}={HIDDEN}" if equals else HIDDEN
