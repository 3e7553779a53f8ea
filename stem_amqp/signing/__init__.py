"""Signed and encrypted bodies: the keys, and what is done with them.

`keys` is what one key can do, `extra_keys` those that need the ``cryptography`` package, `key_file`
reads them, `keyring` holds and reloads them, `signer` and `cipher` write and check the headers, and
`seal` puts these together for task messages. HMAC-SHA256 needs the standard library only.
"""

from stem_amqp.signing.keyring import KeyChange, KeyRing, KeySet
from stem_amqp.signing.seal import Seal, SealReport
from stem_amqp.signing.signer import Domain, sign, verify

__all__ = ["Domain", "KeyChange", "KeyRing", "KeySet", "Seal", "SealReport", "sign", "verify"]
