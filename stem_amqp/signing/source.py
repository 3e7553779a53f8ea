"""From the settings to the keys of a process."""

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


def ring_from(settings: Settings) -> KeyRing | None:
    """Return the keys that the settings name; None where they name none.

    Args:
        settings: the settings.

    Raises:
        ConfigurationError: the keys cannot be used, or come from two places.
    """
    path = settings.keys_file
    given = {name: getattr(settings, name) for name in _VARIABLES}
    if path is None:
        return KeyRing(_reader(given)) if any(given.values()) else None
    if any(given.values()):
        raise ConfigurationError(
            "keys come from STEM_KEYS_FILE, or from STEM_SIGNING_KEY and STEM_ENCRYPTION_KEY, not"
            " from both\n  Put all of them into the file."
        )

    def stamp() -> object:
        try:
            status = path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino

    return KeyRing(lambda: read_key_file(path), stamp=stamp)


def seal_from(settings: Settings, ring: KeyRing | None) -> Seal | None:
    """Return what seals the messages of an application; None where nothing does.

    Args:
        settings: the settings.
        ring: the keys.

    Raises:
        ConfigurationError: signatures or encryption are asked for, and there is no key for it.
    """
    if ring is None:
        for wanted, name in (
            (settings.require_signature, "REQUIRE_SIGNATURE"),
            (settings.encrypt, "ENCRYPT"),
        ):
            if wanted:
                raise ConfigurationError(
                    f"STEM_{name} is set, but there are no keys\n"
                    "  Name a key file in STEM_KEYS_FILE; stem-amqp keys generate makes keys."
                )
        return None
    verifies = ring.current.verifies
    if settings.require_signature and not verifies:
        raise ConfigurationError(
            "STEM_REQUIRE_SIGNATURE is set, but no key can verify a signature: every message would"
            " be refused\n  Add one: stem-amqp keys generate --algorithm ed25519"
        )
    if settings.encrypt:
        ring.current.to_encrypt()
    required = verifies if settings.require_signature is None else settings.require_signature
    return Seal(
        ring=ring, namespace=settings.namespace, required=required, encrypts=settings.encrypt
    )


def _reader(given: dict[str, SecretStr | None]) -> Callable[[], KeySet]:
    """Return what reads the variables: on a reload anew, if they came from the environment."""
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
