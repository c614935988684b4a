"""Programs from the distribution's packages, where this may be done."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from deploy.local import Missing, NotStarted

POLICY = Path("/usr/sbin/policy-rc.d")


def install(*packages: str) -> None:
    """Through apt, without what is only recommended. No service is started for the whole machine.

    Raises Missing when this is not root on a Debian, NotStarted with what apt said when it fails.
    """
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        raise Missing(f"{', '.join(packages)} can only be installed by root with apt-get")
    options = ["-qq", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300"]
    # a service of that name would take the usual port; the tests start servers of their own
    ours = not POLICY.exists()
    if ours:
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
    try:
        _run(apt, "update", "-qq")
        _run(apt, "install", *options, *packages)
    finally:
        if ours:
            POLICY.unlink()


def _run(*command: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise NotStarted(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
