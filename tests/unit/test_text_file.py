"""Files of users: every reader reports an unusable file with a readable error."""

import os
from contextlib import contextmanager
from pathlib import Path

import pytest

from stem_amqp.cli.topology.import_ import _read as read_definitions
from stem_amqp.errors import ConfigurationError
from stem_amqp.settings import Settings
from stem_amqp.signing.key_file import read_key_file
from stem_amqp.text import file as text_file
from stem_amqp.text.file import UnreadableFileError, check_regular, read_text
from stem_amqp.tls.certificates import end_of_file
from stem_amqp.tls.files import TlsFiles
from stem_amqp.topology.file.load import load_topology

TOPOLOGY = "version: 1\nqueues:\n  ördern: {}\n"
TEXT_READERS = {
    "topology": load_topology,
    "keys": read_key_file,
    "definitions": read_definitions,
    ".env": lambda path: Settings.load(),
}
FILE_READERS = {
    "ca": lambda path: TlsFiles(ca=path),
    "cert": lambda path: TlsFiles(cert=path),
    "certificate": end_of_file,
}


@pytest.fixture(autouse=True)
def place(monkeypatch, tmp_path):
    """Return an empty directory, with a short timeout for pipes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(text_file, "PIPE_PATIENCE", 0.05)
    for name in [name for name in os.environ if name.startswith("STEM_")]:
        monkeypatch.delenv(name)


def missing(path):
    return path.with_name("nowhere")


def directory(path):
    path.mkdir()
    return path


def pipe(path):
    os.mkfifo(path)
    return path


def latin_1(path):
    path.write_bytes("# für\nSTEM_NAMESPACE=a\n".encode("latin-1"))
    return path


def utf_16(path):
    path.write_bytes("version: 1".encode("utf-16"))
    return path


def nul(path):
    return path.with_name("a\0b")


def device(path):
    return Path("/dev/zero")


BROKEN_FILES = {directory: "directory", pipe: "pipe", nul: "the path is not valid"}
BROKEN_TEXTS = {latin_1: "not UTF-8", utf_16: "UTF-16; save it as UTF-8"}
CASES = [
    *((reader, make) for reader in ("topology", "keys", "definitions") for make in BROKEN_FILES),
    *((reader, make) for reader in FILE_READERS for make in BROKEN_FILES),
    *((reader, make) for reader in TEXT_READERS for make in BROKEN_TEXTS),
    *((reader, make) for reader in ("topology", "keys", "definitions", *FILE_READERS) for make in (missing, device)),
]  # fmt: skip


@pytest.mark.parametrize(("reader", "make"), CASES)
def test_a_file_that_cannot_be_read_is_an_error_in_words(tmp_path, reader, make):
    """The error names the file and its defect; there is no traceback and no endless wait."""
    path = make(tmp_path / (".env" if reader == ".env" else "given"))
    with pytest.raises(ConfigurationError) as caught:
        (TEXT_READERS | FILE_READERS)[reader](path)
    says = (BROKEN_FILES | BROKEN_TEXTS | {missing: "No such file", device: "device"})[make]
    assert says in str(caught.value)
    assert str(path) in str(caught.value)


@contextmanager
def unprivileged():
    """Run as a user without root's permissions, because the tests run as root."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


@pytest.mark.parametrize("read", [read_text, check_regular])
def test_a_file_without_permission_is_reported(tmp_path, read):
    """The reason is that of the operating system."""
    path = tmp_path / "secret"
    path.write_text("x")
    path.chmod(0)
    with unprivileged(), pytest.raises(UnreadableFileError, match="Permission denied"):
        read(path)


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    """Some editors write one; it would change the name of the first key or variable."""
    topology = tmp_path / "topology.yaml"
    topology.write_text("version: 1\nqueues: {orders: {}}\n", encoding="utf-8-sig")
    assert load_topology(topology).declared == ("orders",)
    (tmp_path / ".env").write_text("STEM_NAMESPACE=marked\n", encoding="utf-8-sig")
    assert Settings.load().namespace == "marked"


def test_a_pipe_is_read_to_its_end(tmp_path):
    """The shell's <(command) is one."""
    readable, writable = os.pipe()
    os.write(writable, b"version: 1\n")
    os.write(writable, b"namespace: piped\n")
    os.close(writable)
    try:
        assert load_topology(f"/dev/fd/{readable}").namespace == "piped"
    finally:
        os.close(readable)


def test_an_endless_file_is_refused(tmp_path, monkeypatch):
    """The length is bounded, so that the memory of the machine is not exhausted."""
    monkeypatch.setattr(text_file, "LARGEST", 1000)
    path = tmp_path / "long"
    path.write_text("x" * 100_000)
    with pytest.raises(UnreadableFileError, match="more than"):
        read_text(path)


def test_a_directory_called_env_is_no_file_of_settings(tmp_path):
    """Many virtual environments have this name."""
    (tmp_path / ".env").mkdir()
    assert Settings.load().namespace == "stem"
