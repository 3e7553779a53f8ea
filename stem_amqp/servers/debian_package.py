"""Install servers from Debian's packages, if the user may install packages."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable

from stem_amqp.errors import BrokerUnavailableError

COMMAND_TIMEOUT = 600.0
LOCK_TIMEOUT = 300
"""Seconds to wait for another apt or dpkg that is running."""


def install_package(package: str, report: Callable[[str], None]) -> None:
    """Install a Debian package.

    Args:
        package: its name, such as ``rabbitmq-server``.
        report: called with one line before the machine is changed.

    Raises:
        BrokerUnavailableError: this is not Debian, the user may not install packages, or apt-get failed;
            the message is the reason alone.
    """
    apt = shutil.which("apt-get", path="/usr/bin:/bin")
    if apt is None:
        raise BrokerUnavailableError("no apt-get on this machine")
    prefix = _root_prefix()
    report(f"installing Debian's {package} package (once; 'apt-get remove {package}' undoes it)")
    options = ["-qq", "-o", f"DPkg::Lock::Timeout={LOCK_TIMEOUT}"]
    _run([*prefix, apt, *options, "update"])
    _run([*prefix, apt, *options, "-y", "--no-install-recommends", "install", package])


def _root_prefix() -> list[str]:
    quiet = "DEBIAN_FRONTEND=noninteractive"
    if os.geteuid() == 0:
        return ["/usr/bin/env", quiet]
    sudo = shutil.which("sudo")
    if sudo is None:
        raise BrokerUnavailableError("not root, and there is no sudo")
    allowed = subprocess.run(  # noqa: S603
        [sudo, "-n", "true"],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=30.0,
    )
    if allowed.returncode != 0:
        raise BrokerUnavailableError("not root, and sudo asks for a password")
    return [sudo, "-n", "/usr/bin/env", quiet]


def _run(command: list[str]) -> None:
    try:
        subprocess.run(  # noqa: S603
            command,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_TIMEOUT,
        )
    except subprocess.TimeoutExpired as error:
        raise BrokerUnavailableError(
            f"'{' '.join(command)}' did not end within {COMMAND_TIMEOUT:g} s"
        ) from error
    except subprocess.CalledProcessError as error:
        lines = [line for line in error.stdout.splitlines() if line.strip()] or ["no output"]
        end = "\n".join(f"  {line}" for line in lines[-4:])
        raise BrokerUnavailableError(f"'{' '.join(command)}' failed:\n{end}") from error
