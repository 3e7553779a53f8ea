"""Create the keys of a process from its settings."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import SecretStr

from stem_amqp.errors import ConfigurationError
from stem_amqp.settings import Settings
from stem_amqp.signing.key_file import parse_variable, read_key_file
from stem_amqp.signing.keyring import KeyRing, KeySet
from stem_amqp.signing.keys import Algorithm
from stem_amqp.signing.seal import Seal

_VARIABLES = {
    "signing_key": ("STEM_SIGNING_KEY", Algorithm.HMAC_SHA256),
    "encryption_key": ("STEM_ENCRYPTION_KEY", Algorithm.AES_256_GCM),
}
_NAMES = ("keys_file", *_VARIABLES)
"""The settings that name keys."""


def ring_from(settings: Settings) -> KeyRing | None:
    """Return the configured keys; None if no keys are configured.

    Args:
        settings: the settings.

    Raises:
        ConfigurationError: the keys are invalid, or configured in two places.
    """
    path = settings.keys_file
    given = {name: getattr(settings, name) for name in _VARIABLES}
    if path is None:
        return KeyRing(_reader(given)) if any(given.values()) else None
    if any(given.values()):
        raise ConfigurationError(
            "keys can come from STEM_KEYS_FILE, or from STEM_SIGNING_KEY and STEM_ENCRYPTION_KEY, but"
            " not from both\n  Put all of them into the file."
        )

    def stamp() -> object:
        try:
            status = path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino

    return KeyRing(lambda: read_key_file(path), stamp=stamp)


class KeySource:
    """The keys that settings name, read when they are first asked for.

    Args:
        settings: the settings.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ring: KeyRing | None = None

    @property
    def ring(self) -> KeyRing | None:
        """The keys; None where the settings name none.

        Raises:
            ConfigurationError: the keys cannot be used, or come from two places.
        """
        if self._ring is None:
            self._ring = ring_from(self._settings)
        return self._ring

    def serves(self, settings: Settings) -> bool:
        """Return whether other settings name the same keys.

        Args:
            settings: the other settings.
        """
        return all(getattr(settings, name) == getattr(self._settings, name) for name in _NAMES)


def seal_from(settings: Settings, ring: KeyRing | None) -> Seal | None:
    """Return the seal of an application's messages; None without keys.

    Args:
        settings: the settings.
        ring: the keys.

    Raises:
        ConfigurationError: signatures or encryption are required, and there is no key for it.
    """
    if ring is None:
        for wanted, name in (
            (settings.require_signature, "REQUIRE_SIGNATURE"),
            (settings.encrypt, "ENCRYPT"),
            (settings.require_encryption, "REQUIRE_ENCRYPTION"),
        ):
            if wanted:
                raise ConfigurationError(
                    f"STEM_{name} is set, but there are no keys\n"
                    "  Set STEM_KEYS_FILE to a key file; stem-amqp keys generate creates keys."
                )
        return None
    verifies = ring.current.verifies
    if settings.require_signature and not verifies:
        raise ConfigurationError(
            "STEM_REQUIRE_SIGNATURE is set, but no key can verify a signature: every message would"
            " be rejected\n  Add one: stem-amqp keys generate --algorithm ed25519"
        )
    if settings.encrypt:
        ring.current.to_encrypt()
    required = verifies if settings.require_signature is None else settings.require_signature
    return Seal(
        ring=ring,
        namespace=settings.namespace,
        required=required,
        encrypts=settings.encrypt,
        needs_encryption=settings.require_encryption,
        signatures=settings.signatures,
    )


def _reader(given: dict[str, SecretStr | None]) -> Callable[[], KeySet]:
    """Return a function that reads the keys; it reads the environment again if they came from it."""
    own = given != _in_environment()

    def read() -> KeySet:
        fresh = {} if own else _in_environment()
        values = fresh if any(fresh.values()) else given
        return KeySet(
            key
            for name, (variable, algorithm) in _VARIABLES.items()
            if (value := values[name]) is not None
            for key in parse_variable(variable, value.get_secret_value(), algorithm)
        )

    return read


def _in_environment() -> dict[str, SecretStr | None]:
    settings = Settings.load()
    return {name: getattr(settings, name) for name in _VARIABLES}
