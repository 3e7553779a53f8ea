"""A certificate authority for tests, and the certificates that it signs."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Authority:
    """Signs certificates, and writes them with their keys into a folder.

    Args:
        folder: the folder of the files.
        name: the name of the authority and of its file ``<name>.pem``.
    """

    def __init__(self, folder, name="authority"):
        self.folder = folder
        self._secret = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        own = self._builder(self._name, self._secret.public_key(), days=30, authority=True)
        self.path = folder / f"{name}.pem"
        self.path.write_bytes(self._signed(own).public_bytes(serialization.Encoding.PEM))

    def pair(self, name, *, days=30, file=None):
        """Write a certificate for a common name, 127.0.0.1 and localhost.

        Args:
            name: the common name.
            days: the days until it expires; negative for an expired certificate.
            file: the file's name without suffix; default: the common name.

        Returns:
            The paths of certificate and key.
        """
        secret = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        built = self._builder(subject, secret.public_key(), days=days, authority=False)
        cert, key = (self.folder / f"{file or name}.{ending}" for ending in ("crt", "key"))
        cert.write_bytes(self._signed(built).public_bytes(serialization.Encoding.PEM))
        key.write_bytes(
            secret.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        key.chmod(0o600)
        return cert, key

    def _builder(self, subject, public, *, days, authority):
        now = datetime.now(UTC).replace(microsecond=0)
        names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=60))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._secret.public_key()),
                critical=False,
            )
            .add_extension(self._usage(authority=authority), critical=True)
        )

    @staticmethod
    def _usage(*, authority):
        unused = ("content_commitment", "data_encipherment", "key_agreement", "crl_sign")
        unused += ("key_encipherment", "encipher_only", "decipher_only")
        return x509.KeyUsage(
            digital_signature=True, key_cert_sign=authority, **dict.fromkeys(unused, False)
        )

    def _signed(self, builder):
        return builder.sign(self._secret, hashes.SHA256())
