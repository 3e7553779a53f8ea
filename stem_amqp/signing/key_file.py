"""Read keys from a YAML or JSON file, or from a variable. No error quotes a secret.

The file::

    keys:
      - id: web-2026-01
        algorithm: ed25519        # or hmac-sha256, aes-256-gcm
        private: base64…          # ed25519: for producers; the public key is derived from it
        public: base64…           # ed25519: enough to verify
        secret: base64…           # the other two: 32 random bytes
        active: true              # use it for new messages; default: false
        use: publishes            # for a worker's key, which must not sign tasks; default: all

The variable, for HMAC-SHA256 and AES-256-GCM: ``id:base64``, several separated by commas; the first
is active.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import logging
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import yaml

from stem_amqp.errors import ConfigurationError
from stem_amqp.signing.keyring import KeySet
from stem_amqp.signing.keys import ID, Algorithm, HmacKey, Key, Use
from stem_amqp.text import UnreadableFileError, read_text

log = logging.getLogger("stem_amqp.signing")

_HALVES = {
    Algorithm.HMAC_SHA256: ("secret",),
    Algorithm.AES_256_GCM: ("secret",),
    Algorithm.ED25519: ("private", "public"),
}
_FIELDS = ("id", "algorithm", "secret", "private", "public", "active", "use")
_ALIKE = 0.7
_LONGER = 2
"""Similarity and maximum extra characters of a name that counts as a misspelt field."""
_GENERATE = "Make a key with: stem-amqp keys generate"


def read_key_file(path: Path) -> KeySet:
    """Read a key file.

    Args:
        path: the YAML or JSON file.

    Raises:
        ConfigurationError: it cannot be read or is invalid; the message has file, line and remedy.
    """
    try:
        text = read_text(path)
        mode = path.stat().st_mode
    except (UnreadableFileError, OSError) as error:
        raise ConfigurationError(
            f"STEM_KEYS_FILE: cannot read {path}: {error}\n"
            "  Check the path, and that the user of this process may read it."
        ) from None
    _warn_if_open(path, mode)
    return _KeyFile(str(path)).parse(text)


def parse_variable(variable: str, value: str, algorithm: Algorithm) -> list[Key]:
    """Read keys from a variable.

    Args:
        variable: its name, for the error.
        value: ``id:base64``, several separated by commas; the first is active.
        algorithm: the algorithm of the keys.

    Raises:
        ConfigurationError: the value is invalid; the message does not quote it.
    """
    keys: list[Key] = []
    for number, part in enumerate(value.split(","), 1):
        key_id, _, secret = part.strip().partition(":")
        try:
            if not ID.fullmatch(key_id) or not secret:
                raise ValueError("it is not written as id:base64")
            keys.append(make_key(algorithm, key_id, active=number == 1, secret=decoded(secret)))
        except ValueError as error:
            raise ConfigurationError(
                f"{variable}: key {number} cannot be used: {error}\n"
                "  Write id:base64 with 32 random bytes, such as web-1:$(openssl rand -base64 32)"
            ) from None
    return keys


def make_key(
    algorithm: Algorithm, key_id: str, *, active: bool, use: Use = Use.ALL, **parts: bytes | None
) -> Key:
    """Create a key from its bytes.

    Args:
        algorithm: its algorithm.
        key_id: its id.
        active: whether it is used for new messages.
        use: which messages a signing key is trusted for.
        **parts: ``secret``, or for Ed25519 ``private`` and ``public``.

    Raises:
        ValueError: the bytes are not a valid key.
        ConfigurationError: the algorithm needs a package that is not installed.
    """
    if algorithm is Algorithm.HMAC_SHA256:
        return HmacKey(key_id, parts.get("secret") or b"", active=active, use=use)
    try:
        from stem_amqp.signing.extra_keys import AesGcmKey, Ed25519Key  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ConfigurationError(
            f"the key {key_id!r} has the algorithm {algorithm.value}, which needs the cryptography"
            ' package\n  pip install "stem-amqp[signing]"'
        ) from error
    if algorithm is Algorithm.AES_256_GCM:
        return AesGcmKey(key_id, parts.get("secret") or b"", active=active)
    return Ed25519Key(
        key_id, private=parts.get("private"), public=parts.get("public"), active=active, use=use
    )


def decoded(text: str) -> bytes:
    """Decode base64, standard or URL-safe.

    Raises:
        ValueError: it is not valid base64; the message does not quote it.
    """
    plain = text.strip().replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("it is not valid base64") from None


def _warn_if_open(path: Path, mode: int) -> None:
    if mode & (stat.S_IRWXO | stat.S_IWGRP):
        log.warning(
            "the key file %s can be read or changed by others (mode %o): chmod 640 %s",
            path,
            stat.S_IMODE(mode),
            path,
        )


class _KeyFile:
    """Parse the YAML nodes, which have their line numbers for errors."""

    def __init__(self, file: str) -> None:
        self._file = file

    def parse(self, text: str) -> KeySet:
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            # The message of the YAML error would quote the line, and a secret in it
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            self._fail(line, "", "the file is not valid YAML or JSON from here on")
        except (yaml.YAMLError, RecursionError):
            self._fail(1, "", "the file is not valid YAML or JSON")
        fields = dict(self._fields(root, "", ("keys",)))
        listed = fields.get("keys")
        if not isinstance(listed, yaml.SequenceNode) or not listed.value:
            self._fail(1, "keys", "it must be a list with at least one key")
        keys = [self._key(node, f"keys[{index}]") for index, node in enumerate(listed.value)]
        try:
            return KeySet(keys)
        except ConfigurationError as error:
            raise ConfigurationError(f"{self._file}: {error}") from None

    def _key(self, node: yaml.Node, place: str) -> Key:
        line = _line(node)
        fields = dict(self._fields(node, place, _FIELDS))
        key_id = self._text(fields, "id", line, place)
        if not ID.fullmatch(key_id):
            remedy = (
                "Use at most 64 letters, digits, '.', '_' and '-'; begin with a letter or digit."
            )
            self._fail(_line(fields["id"]), f"{place}.id", "it is not a valid id", remedy)
        name = self._text(fields, "algorithm", line, place)
        if name not in set(Algorithm):
            known = ", ".join(Algorithm)
            self._fail(_line(fields["algorithm"]), f"{place}.algorithm", f"use one of: {known}", "")
        algorithm = Algorithm(name)
        parts: dict[str, bytes | None] = {}
        for half in ("secret", "private", "public"):
            if half not in fields:
                continue
            if half not in _HALVES[algorithm]:
                allowed = " or ".join(_HALVES[algorithm])
                problem = f"a key of algorithm {algorithm} has {allowed}, not {half}"
                self._fail(_line(fields[half]), f"{place}.{half}", problem)
            try:
                parts[half] = decoded(self._text(fields, half, line, place))
            except ValueError as error:
                self._fail(_line(fields[half]), f"{place}.{half}", str(error))
        try:
            return make_key(
                algorithm,
                key_id,
                active=self._active(fields, place),
                use=self._use(fields, algorithm, place),
                **parts,
            )
        except ConfigurationError:
            raise
        except ValueError as error:
            self._fail(line, place, str(error))

    def _active(self, fields: dict[str, yaml.Node], place: str) -> bool:
        node = fields.get("active")
        if node is None:
            return False
        if not isinstance(node, yaml.ScalarNode) or node.tag != "tag:yaml.org,2002:bool":
            self._fail(_line(node), f"{place}.active", "it must be true or false", "")
        return str(node.value).lower() in {"true", "yes", "on"}

    def _use(self, fields: dict[str, yaml.Node], algorithm: Algorithm, place: str) -> Use:
        node = fields.get("use")
        if node is None:
            return Use.ALL
        if algorithm is Algorithm.AES_256_GCM:
            self._fail(_line(node), f"{place}.use", "only a key that signs can have it", "")
        if not isinstance(node, yaml.ScalarNode) or node.value not in set(Use):
            self._fail(_line(node), f"{place}.use", f"use one of: {', '.join(Use)}", "")
        return Use(node.value)

    def _text(self, fields: dict[str, yaml.Node], name: str, line: int, place: str) -> str:
        node = fields.get(name)
        if node is None:
            self._fail(line, place, f"{name} is missing")
        if not isinstance(node, yaml.ScalarNode):
            self._fail(_line(node), f"{place}.{name}", "it must be a string")
        return str(node.value)

    def _fields(
        self, node: yaml.Node | None, place: str, known: tuple[str, ...]
    ) -> Iterator[tuple[str, yaml.Node]]:
        if not isinstance(node, yaml.MappingNode):
            wanted = " and ".join(known) if len(known) == 1 else "id, algorithm and its secret"
            self._fail(_line(node), place, f"it must be a mapping with {wanted}")
        seen: set[str] = set()
        for name_node, value in node.value:
            name = str(name_node.value)
            if name not in known:
                self._fail(_line(name_node), place, *_unknown(name, known))
            if name in seen:
                self._fail(_line(name_node), place, f"{name} is given twice", "")
            seen.add(name)
            yield name, value

    def _fail(self, line: int, place: str, problem: str, remedy: str = _GENERATE) -> NoReturn:
        where = ": ".join(part for part in (f"{self._file}:{line}", place) if part)
        raise ConfigurationError(f"{where}: {problem}" + (f"\n  {remedy}" if remedy else ""))


def _unknown(name: str, known: tuple[str, ...]) -> tuple[str, str]:
    """Return problem and remedy of an unknown field name.

    A value in the wrong place may be a secret, so a name is quoted only if it is similar to a field's
    name; no strong secret is.
    """
    close = difflib.get_close_matches(name.lower(), known, n=1, cutoff=_ALIKE)
    if close and len(name) <= len(close[0]) + _LONGER:
        return f"{name!r} is not a valid field", f"Did you mean {close[0]!r}?"
    return f"there is a field here that is not one of {', '.join(known)}", ""


def _line(node: yaml.Node | None) -> int:
    return 1 if node is None else int(node.start_mark.line) + 1
