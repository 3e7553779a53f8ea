"""``stem-amqp keys``: generated keys are usable, and the list of keys shows no secret."""

import re

import pytest
from cli_support import command_line

from stem_amqp.signing.key_file import read_key_file
from stem_amqp.signing.keyring import KeyRing
from stem_amqp.signing.signer import Domain, sign, verify

TASK = {"domain": Domain.TASK, "namespace": "shop"}


@pytest.fixture
def cli(capsys, monkeypatch, tmp_path):
    """Yield a command line in an empty directory."""
    with command_line(capsys, monkeypatch, tmp_path) as cli:
        yield cli


def written(cli, name, text):
    """Write a key file that other users may not read."""
    path = cli.write(name, text)
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("algorithm", ["hmac-sha256", "ed25519", "aes-256-gcm"])
def test_what_is_generated_is_a_key_file(cli, algorithm):
    """The file can be used at once, and each call generates another key."""
    ran = cli("keys", "generate", "--algorithm", algorithm, "--id", "k1")
    keys = read_key_file(written(cli, "keys.yaml", ran.out))
    assert keys.get("k1").active
    assert (keys.signing or keys.encrypting).id == "k1"
    assert cli("keys", "generate", "--algorithm", algorithm, "--id", "k1").out != ran.out


def test_the_workers_half_is_in_the_comment_and_only_verifies(cli):
    """One command gives the content of two files."""
    text = cli("keys", "generate", "--algorithm", "ed25519").out
    producer = read_key_file(written(cli, "web.yaml", text))
    comment = re.findall(r"^# (keys:|  .*)$", text, re.MULTILINE)
    worker = read_key_file(written(cli, "shop.yaml", "\n".join(comment)))
    (key,) = worker.keys
    assert not key.can_sign
    ring = KeyRing(lambda: producer)
    assert verify(KeyRing(lambda: worker), b"x", sign(ring, b"x", **TASK), **TASK) is key


def test_an_id_that_cannot_be_one_is_refused(cli):
    """The id is sent in message headers."""
    ran = cli("keys", "generate", "--id", "a b")
    assert ran.code == 2
    assert "is not a valid id of a key" in ran.err


def test_listed_keys_show_what_they_can_do_and_no_secret(cli, monkeypatch):
    """The list exists as a table and as JSON."""
    text = cli("keys", "generate", "--id", "k1").out
    secret = re.search(r"secret: (\S+)", text)[1]
    monkeypatch.setenv("STEM_KEYS_FILE", str(written(cli, "keys.yaml", text)))
    ran = cli("keys", "list")
    assert ran.code == 0
    assert re.search(r"k1 +hmac-sha256 +yes +signs and verifies", ran.out)
    assert "reject unsigned messages" in ran.err
    as_json = cli("keys", "list", "--json")
    assert as_json.json == [
        {
            "id": "k1",
            "algorithm": "hmac-sha256",
            "active": True,
            "abilities": "signs and verifies",
        }
    ]
    assert secret not in ran.out + ran.err + as_json.out


def test_without_keys_there_is_nothing_to_list(cli):
    """The command hints at the settings."""
    ran = cli("keys", "list")
    assert (ran.code, ran.out) == (0, "")
    assert "STEM_KEYS_FILE" in ran.err


def test_an_unusable_file_is_reported_as_by_a_worker(cli, monkeypatch):
    """The error has file, line and remedy, and the exit code is 2."""
    monkeypatch.setenv("STEM_KEYS_FILE", str(written(cli, "keys.yaml", "keys:\n- id: k1\n")))
    ran = cli("keys", "list")
    assert ran.code == 2
    assert "keys.yaml:2: keys[0]: algorithm is missing" in ran.err
