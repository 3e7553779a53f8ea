"""Signs directives, and verifies the signature of each one that is stored or received."""

from __future__ import annotations

from stem_amqp.directives.document import Entry
from stem_amqp.directives.model import Directive
from stem_amqp.errors import SignatureError
from stem_amqp.messages.commands import DIRECTIVE, signed_part
from stem_amqp.settings import Signatures
from stem_amqp.signing.publish import PUBLISH, verify_publish
from stem_amqp.signing.seal import Seal
from stem_amqp.signing.signer import Domain


class Trust:
    """Signs directives with the application's key, and accepts those that are signed as required.

    A stored directive has no window of time, unlike a command on the control exchange: it is obeyed until
    it expires, is withdrawn or is replaced. An old copy of it has no effect, since the later one holds.

    Args:
        seal: the keys; None: nothing is signed, and everything is accepted.

    Attributes:
        refused: the number of stored entries that were found without a valid signature, each counted once.
    """

    def __init__(self, seal: Seal | None) -> None:
        self.refused = 0
        self._seal = seal
        self._verified: set[Entry] = set()
        self._counted: set[Entry] = set()
        self._found: list[Directive] = []
        self._keys: object = None

    def sign(self, directive: Directive, at: float) -> Entry:
        """Return a directive with its signature, if this process has a key for commands.

        Args:
            directive: the directive.
            at: the time of the signature, seconds since the epoch.

        Raises:
            ConfigurationError: the directive is too large.
            SignatureError: workers need a signature, and this process has no key for commands.
        """
        body = directive.encode()
        if self._seal is None:
            return Entry(body, None, directive)
        part = signed_part(body, None, {}, type=DIRECTIVE)
        header = self._seal.stamp(part, domain=Domain.COMMAND, at=at).get(PUBLISH)
        if header is None and self._seal.signs_all:
            raise SignatureError(
                "workers obey signed directives only, and this process has no key that signs commands\n"
                "  Give it an active signing key (use: all), as in STEM_KEYS_FILE of an operator"
            )
        return Entry(body, header, directive)

    def accepts(self, entry: Entry) -> bool:
        """Return whether an entry has a valid signature, or needs none.

        Args:
            entry: the entry as it was stored.
        """
        seal = self._seal
        if seal is None or seal.level is Signatures.BODIES:
            return True
        if seal.ring.current is not self._keys:
            self._keys = seal.ring.current
            self._verified.clear()
        if entry in self._verified:
            return True
        if _is_valid(seal, entry):
            _remember(self._verified, entry)
            return True
        # verified again each time: its key may be added later
        if entry not in self._counted:
            self.refused += 1
            self._found.append(entry.directive)
            _remember(self._counted, entry)
        return False

    def take_refused(self) -> list[Directive]:
        """Return the entries that were found without a valid signature since the last call, each once."""
        found, self._found = self._found, []
        return found


_REMEMBERED = 50_000
"""The most entries whose verification is remembered."""


def _remember(entries: set[Entry], entry: Entry) -> None:
    if len(entries) >= _REMEMBERED:
        entries.clear()
    entries.add(entry)


def _is_valid(seal: Seal, entry: Entry) -> bool:
    if entry.signature is None:
        return not seal.signs_all
    part = signed_part(entry.body, None, {}, type=DIRECTIVE)
    try:
        verify_publish(
            seal.ring, entry.signature, part, domain=Domain.COMMAND, namespace=seal.namespace
        )
    except SignatureError:
        return False
    return True
