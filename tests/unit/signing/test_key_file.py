"""Key files and variables: their content, and errors with the place and without secrets."""

import base64
import builtins
import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stem_amqp.errors import ConfigurationError
from stem_amqp.settings import Settings
from stem_amqp.signing.extra_keys import Ed25519Key
from stem_amqp.signing.key_file import parse_variable, read_key_file
from stem_amqp.signing.keys import Algorithm
from stem_amqp.signing.source import ring_from, seal_from

SECRET = base64.b64encode(bytes(range(32))).decode()
HMAC = f"keys:\n- id: k1\n  algorithm: hmac-sha256\n  secret: {SECRET}\n"


@pytest.fixture
def file(tmp_path):
    """Write a key file that only the owner can read."""

    def write(text, mode=0o600):
        path = tmp_path / "keys.yaml"
        path.write_text(text)
        path.chmod(mode)
        return path

    return write


def mistake(path):
    """Return the error about a file, which must not have its secret."""
    with pytest.raises(ConfigurationError) as caught:
        read_key_file(path)
    assert SECRET not in str(caught.value)
    assert SECRET[:12] not in str(caught.value)
    return str(caught.value)


def test_a_file_has_keys_of_every_kind(file):
    """The file is written in YAML."""
    private = os.urandom(32)
    public = base64.b64encode(Ed25519Key("x", private=private).public_bytes).decode()
    text = base64.urlsafe_b64encode(private).decode().rstrip("=")
    keys = read_key_file(
        file(
            f"{HMAC}  active: true\n"
            f"- {{id: web, algorithm: ed25519, private: '{text}'}}\n"
            f"- {{id: shop, algorithm: ed25519, public: '{public}'}}\n"
            f"- {{id: c1, algorithm: aes-256-gcm, secret: '{SECRET}', active: yes}}\n"
        )
    )
    assert [key.id for key in keys.keys] == ["k1", "web", "shop", "c1"]
    assert keys.signing.id == "k1"
    assert keys.encrypting.id == "c1"
    assert keys.get("web").can_sign
    assert not keys.get("shop").can_sign
    assert repr(keys.get("shop")) == "<Ed25519Key 'shop': verifies only>"
    assert SECRET not in repr(keys)


def test_a_file_may_be_json(file):
    """Programs write JSON more easily."""
    entry = {"id": "k1", "algorithm": "hmac-sha256", "secret": SECRET, "active": True}
    assert read_key_file(file(json.dumps({"keys": [entry]}))).signing.id == "k1"


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("", "keys.yaml:1", "must be a mapping with keys"),
        ("keys: []", "keys.yaml:1: keys", "a list with at least one key"),
        ("keys: [x]", "keys.yaml:1: keys[0]", "must be a mapping"),
        (f"{HMAC}  more: 1", "keys.yaml:5: keys[0]", "a field here that is not one of"),
        (
            HMAC.replace("secret", "secert"),
            "keys.yaml:4: keys[0]",
            "'secert' is not a valid field\n  Did you mean 'secret'?",
        ),
        (f"{HMAC}  Active: true", "keys.yaml:5: keys[0]", "Did you mean 'active'?"),
        ("key: []", "keys.yaml:1", "'key' is not a valid field\n  Did you mean 'keys'?"),
        (f"{HMAC}  {SECRET}: 1", "keys.yaml:5: keys[0]", "a field here that is not one of"),
        (f"{HMAC}- id: k2", "keys.yaml:5: keys[1]", "algorithm is missing"),
        (HMAC.replace("hmac-sha256", "md5"), "keys.yaml:3: keys[0].algorithm", "use one of: hmac"),
        (HMAC.replace("k1", "k 1"), "keys.yaml:2: keys[0].id", "not a valid id"),
        (HMAC.replace(SECRET, f"{SECRET}!"), "keys.yaml:4: keys[0].secret", "not valid base64"),
        (HMAC.replace(SECRET, SECRET[:8]), "keys.yaml:2: keys[0]", "has 6 bytes; at least 32"),
        (
            HMAC.replace("hmac-sha256", "ed25519"),
            "keys.yaml:4: keys[0].secret",
            "private or public",
        ),
        (HMAC + HMAC[6:], "keys.yaml", "two keys with the id 'k1'"),
        (f"{HMAC}  active: {SECRET}", "keys.yaml:5: keys[0].active", "true or false"),
        (f"{HMAC}  active: [", "keys.yaml:5", "not valid YAML"),
        (f"{HMAC}  secret: {SECRET}", "keys.yaml:5: keys[0]", "secret is given twice"),
        (f"keys:\n- id: k1\n\tsecret: {SECRET}", "keys.yaml:3", "not valid YAML"),
        (f"keys:\n- id: k1\n  secret: *{SECRET[:30]}", "keys.yaml:3", "not valid YAML"),
        (
            f"{HMAC}  active: true\n{HMAC[6:].replace('k1', 'k2')}  active: true",
            "keys.yaml",
            "'k1' and 'k2' are both active",
        ),
        (
            HMAC.replace("hmac-sha256", "ed25519").replace("secret", "public") + "  active: true",
            "keys.yaml",
            "it has no private key",
        ),
    ],
)
def test_a_mistake_names_its_place_and_no_secret(file, text, place, words):
    """The error has file, line and key, on one screen."""
    told = mistake(file(text))
    assert place in told
    assert words in told
    assert len(told.splitlines()) <= 3


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=80))
def test_any_text_is_keys_or_a_configuration_error(tmp_path_factory, text):
    """A file has no other outcome."""
    path = tmp_path_factory.mktemp("keys") / "keys.yaml"
    path.write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(ConfigurationError):
        read_key_file(path)


def test_a_file_that_is_nested_too_deep_is_no_key_file(file):
    """The parser's recursion limit is a mistake in the file, not a bug."""
    with pytest.raises(ConfigurationError, match="not valid YAML"):
        read_key_file(file("keys: " + "[" * 5000))


def test_a_missing_file_is_named(tmp_path):
    """The error has the reason of the operating system."""
    assert "No such file" in mistake(tmp_path / "none.yaml")


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o640, False), (0o644, True)])
def test_a_file_that_others_can_read_is_warned_of(file, caplog, mode, warned):
    """The keys are used nevertheless."""
    path = file(HMAC, mode)
    read_key_file(path)
    assert ("can be read or changed by others (mode 644)" in caplog.text) is warned


def test_a_missing_package_is_named_with_its_pip_line(file, monkeypatch):
    """HMAC-SHA256 works without the package."""
    real = builtins.__import__

    def without(name, *rest, **more):
        if name.startswith(("cryptography", "stem_amqp.signing.extra_keys")):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    assert read_key_file(file(HMAC)).get("k1") is not None
    told = mistake(file(HMAC.replace("hmac-sha256", "aes-256-gcm")))
    assert 'pip install "stem-amqp[signing]"' in told


def test_a_variable_has_several_keys_of_which_the_first_is_active():
    """The simple case needs no file."""
    keys = parse_variable("STEM_SIGNING_KEY", f"k2:{SECRET}, k1:{SECRET}", Algorithm.HMAC_SHA256)
    assert [(key.id, key.active) for key in keys] == [("k2", True), ("k1", False)]


@pytest.mark.parametrize("value", [SECRET, f"k1:{SECRET},{SECRET}", f"k1:{SECRET[:9]}", ":", "a:!"])
def test_a_mistake_in_a_variable_is_reported_without_its_value(value):
    """The value would otherwise appear in a log."""
    with pytest.raises(ConfigurationError, match="STEM_SIGNING_KEY: key") as caught:
        parse_variable("STEM_SIGNING_KEY", value, Algorithm.HMAC_SHA256)
    assert SECRET[:9] not in str(caught.value)


def test_keys_come_from_one_place(file):
    """With two sources, the active key would be ambiguous."""
    with pytest.raises(ConfigurationError, match="not from both"):
        ring_from(Settings.load(keys_file=file(HMAC), signing_key=f"k1:{SECRET}"))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"require_signature": True}, "STEM_REQUIRE_SIGNATURE is set, but there are no keys"),
        ({"encrypt": True}, "STEM_ENCRYPT is set, but there are no keys"),
        ({"encrypt": True, "signing_key": f"k1:{SECRET}"}, "no key of algorithm aes-256-gcm"),
        (
            {"require_signature": True, "encryption_key": f"c1:{SECRET}"},
            "every message would be rejected",
        ),
    ],
)
def test_what_is_asked_for_without_a_key_is_an_error(values, words):
    """The error is raised at the start, not at the first message."""
    given = Settings.load(**values)
    with pytest.raises(ConfigurationError, match=words):
        seal_from(given, ring_from(given))


@pytest.mark.parametrize(
    ("values", "required"),
    [
        ({"signing_key": f"k1:{SECRET}"}, True),
        ({"signing_key": f"k1:{SECRET}", "require_signature": False}, False),
        ({"encryption_key": f"c1:{SECRET}"}, False),
    ],
)
def test_signatures_are_required_where_they_can_be_verified(values, required):
    """This is the safe default, which the settings can change."""
    given = Settings.load(**values)
    assert seal_from(given, ring_from(given)).required is required


def test_variables_are_read_again_from_the_environment_file(tmp_path, monkeypatch):
    """The environment of a process does not change, but the file does."""
    monkeypatch.chdir(tmp_path)
    dotenv = tmp_path / ".env"
    dotenv.write_text(f"STEM_SIGNING_KEY=k1:{SECRET}\n")
    ring = ring_from(Settings.load())
    dotenv.write_text(f"STEM_SIGNING_KEY=k2:{SECRET},k1:{SECRET}\n")
    change = ring.reload()
    assert (change.added, change.removed, change.signing) == (("k2",), (), "k2")
    assert str(change) == "added k2; signing with k2"


def test_keys_of_the_program_are_not_replaced_by_the_environment(monkeypatch):
    """Keys that are given in code take precedence."""
    given = Settings.load(signing_key=f"mine:{SECRET}")
    monkeypatch.setenv("STEM_SIGNING_KEY", f"k1:{SECRET}")
    ring = ring_from(given)
    ring.reload()
    assert [key.id for key in ring.current.keys] == ["mine"]
