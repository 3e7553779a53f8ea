"""The keys of a result backend: of unique, debounced and throttled calls, and of guarded blocks."""

from __future__ import annotations

from stem_amqp.errors import ConfigurationError
from stem_amqp.results.model import KeyRecord


class KeyStore:
    """The part of a result backend that stores keys; a backend without keys inherits the refusals.

    Attributes:
        keeps_keys: whether it implements `claim_key`, `keep_key` and `release_key`; `swap_key` has a
            default that uses these.
    """

    keeps_keys: bool = False

    async def claim_key(self, key: str, owner: str, *, ttl: float) -> KeyRecord:  # noqa: ARG002
        """Claim a key that is free; of any number of claimants exactly one wins.

        The owner of a key without a value wins again, and the key's `ttl` starts again. A key with a
        value stays unchanged.

        Args:
            key: any text. It must contain the namespace where several namespaces share a store
                without namespaces (a file, this process).
            owner: a unique name of the claimant.
            ttl: seconds for which the owner holds the key.

        Returns:
            The key's record afterwards: the claimant has won if it is the owner.

        Raises:
            ConfigurationError: this backend does not keep keys.
            BackendUnavailableError: the key may not be claimed; repeating is safe.
        """
        raise self._keys_unsupported()

    async def keep_key(
        self,
        key: str,  # noqa: ARG002
        owner: str,  # noqa: ARG002
        *,
        ttl: float,  # noqa: ARG002
        value: bytes | None = None,  # noqa: ARG002
    ) -> bool:
        """Extend the time of a key, and store a value in it.

        Args:
            key: the key.
            owner: the owner that holds it.
            ttl: seconds from now.
            value: the value; None leaves the stored value unchanged.

        Returns:
            Whether the owner still held it; otherwise nothing was changed.

        Raises:
            ConfigurationError: this backend does not keep keys.
            BackendUnavailableError: as for `claim_key`.
        """
        raise self._keys_unsupported()

    async def swap_key(
        self, key: str, owner: str, *, ttl: float, expected: bytes | None, value: bytes
    ) -> KeyRecord:
        """Store a value in a key, if the key still has the value that was read before.

        A free key is claimed for the owner, and has no value. If another owner holds the key, or its
        value is not the expected one, nothing else is changed.

        This default reads and writes in two steps: of several callers at the same moment, more than one
        may be told that its value is stored. A backend overrides it with one atomic step.

        Args:
            key: the key, as for `claim_key`.
            owner: the owner, the same for all callers that share the key.
            ttl: seconds from now for which the key is held with the new value.
            expected: the value that was read; None if there was none.
            value: the new value.

        Returns:
            The key's record afterwards: it has the new value if that was stored.

        Raises:
            ConfigurationError: this backend does not keep keys.
            BackendUnavailableError: as for `claim_key`.
        """
        record = await self.claim_key(key, owner, ttl=ttl)
        if record.owner != owner or record.value != expected:
            return record
        if not await self.keep_key(key, owner, ttl=ttl, value=value):
            return await self.claim_key(key, owner, ttl=ttl)
        return KeyRecord(owner=owner, value=value, remaining=ttl)

    async def release_key(self, key: str, owner: str) -> bool:  # noqa: ARG002
        """Release a key, whatever its value.

        Returns:
            Whether the owner held it; otherwise nothing was changed.

        Raises:
            ConfigurationError: this backend does not keep keys.
            BackendUnavailableError: as for `claim_key`.
        """
        raise self._keys_unsupported()

    def _keys_unsupported(self) -> ConfigurationError:
        return ConfigurationError(
            f"unique, debounced and throttled tasks and ctx.once need a result backend that stores"
            f" keys, which {type(self).__name__} does not.\n"
            "  Set STEM_BACKEND_URL to redis://, postgresql:// or sqlite:///, the same for producers"
            " and workers (memory:// for tests)."
        )
