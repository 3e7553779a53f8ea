"""``stem-amqp keys``: made keys can be used, and listed ones show no secret."""

import re

import pytest
from cli_support import command_line

from stem_amqp.signing import Domain, KeyRing, sign, verify
from stem_amqp.signing.key_file import read_key_file

TASK = {"domain": Domain.TASK, "namespace": "shop"}


@pytest.fixture
def cli(capsys, monkeypatch, tmp_path):
    """A command line in an empty directory."""
    with command_line(capsys, monkeypatch, tmp_path) as cli:
        yield cli


def written(cli, name, text):
    """Write a key file, which others may not read."""
    path = cli.write(name, text)
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("algorithm", ["hmac-sha256", "ed25519", "aes-256-gcm"])
def test_what_is_generated_is_a_key_file(cli, algorithm):
    """Ready to be used, and another one each time."""
    ran = cli("keys", "generate", "--algorithm", algorithm, "--id", "k1")
    keys = read_key_file(written(cli, "keys.yaml", ran.out))
    assert keys.get("k1").active
    assert (keys.signing or keys.encrypting).id == "k1"
    assert cli("keys", "generate", "--algorithm", algorithm, "--id", "k1").out != ran.out


def test_the_workers_half_is_in_the_comment_and_only_verifies(cli):
    """Two files from one command."""
    text = cli("keys", "generate", "--algorithm", "ed25519").out
    producer = read_key_file(written(cli, "web.yaml", text))
    comment = re.findall(r"^# (keys:|  .*)$", text, re.MULTILINE)
    worker = read_key_file(written(cli, "shop.yaml", "\n".join(comment)))
    (key,) = worker.keys
    assert not key.can_sign
    ring = KeyRing(lambda: producer)
    assert verify(KeyRing(lambda: worker), b"x", sign(ring, b"x", **TASK), **TASK) is key


def test_an_id_that_cannot_be_one_is_refused(cli):
    """It would end up in headers."""
    ran = cli("keys", "generate", "--id", "a b")
    assert ran.code == 2
    assert "is no id for a key" in ran.err


def test_listed_keys_show_what_they_can_do_and_no_secret(cli, monkeypatch):
    """For people and for programs."""
    text = cli("keys", "generate", "--id", "k1").out
    secret = re.search(r"secret: (\S+)", text)[1]
    monkeypatch.setenv("STEM_KEYS_FILE", str(written(cli, "keys.yaml", text)))
    ran = cli("keys", "list")
    assert ran.code == 0
    assert re.search(r"k1 +hmac-sha256 +yes +signs and verifies", ran.out)
    assert "refuses unsigned messages" in ran.err
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
    """And a hint at the settings."""
    ran = cli("keys", "list")
    assert (ran.code, ran.out) == (0, "")
    assert "STEM_KEYS_FILE" in ran.err


def test_a_file_that_cannot_be_used_is_told_as_a_worker_would(cli, monkeypatch):
    """File, line and remedy, and exit code 2."""
    monkeypatch.setenv("STEM_KEYS_FILE", str(written(cli, "keys.yaml", "keys:\n- id: k1\n")))
    ran = cli("keys", "list")
    assert ran.code == 2
    assert "keys.yaml:2: keys[0]: algorithm is missing" in ran.err
