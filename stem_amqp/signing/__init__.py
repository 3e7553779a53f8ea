"""Signing and encryption of message bodies.

`keys` defines the interfaces of a key, `extra_keys` the keys that need the ``cryptography`` package,
`key_file` reads keys, `keyring` holds and reloads them, `signer` and `cipher` write and verify the
headers, `publish` those of each publish, and `seal` combines these for task messages. HMAC-SHA256
needs only the standard library.
"""
