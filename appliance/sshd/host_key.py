"""Our host key: made on the first start, the same ever after, so that nobody learns to ignore a changed one."""

from __future__ import annotations

from pathlib import Path

import asyncssh

from appliance.crypto import write_private
from appliance.errors import StoreError


def load_or_make_host_key(path: Path) -> asyncssh.SSHKey:
    """The ed25519 key in `path`, mode 0600. Raises StoreError when the file holds something else."""
    if not path.exists():
        made = asyncssh.generate_private_key("ssh-ed25519", comment="rondo")
        write_private(path, made.export_private_key("openssh"))
    path.chmod(0o600)
    try:
        return asyncssh.read_private_key(str(path))
    except (asyncssh.KeyImportError, ValueError) as error:
        raise StoreError(f"{path} does not hold a host key ({error}); restore it from a backup, or remove it") from None
