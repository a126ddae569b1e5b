"""Signer keys in files: text that says what it is, readable by its owner alone.

This file refuses to know what is signed.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from bootstrap.store import read_file
from bootstrap.trust import read_key
from dht.errors import LocalError
from dht.identity import IdentityKey, to_zbase32

_TITLE: Final = "rookery-signer-key/1"
_MAX_KEY_FILE: Final = 4096
"""UNSOURCED: twenty times what a key file has."""


def make_key(path: Path) -> IdentityKey:
    """Make a key and write it to a new file with mode 0600. Raises `LocalError`; an existing file is left alone."""
    key = IdentityKey.generate()
    text = f"{_TITLE}\npublic {key.public.text}\nsecret {to_zbase32(key.seed)}\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Exclusive and private from the first moment on: no second in which others could read it.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise LocalError(f"{path} exists already: keys are never overwritten; choose another name") from None
    except OSError as problem:
        raise LocalError(f"{path} cannot be written: {problem.strerror or problem}") from None
    return key


def load_key(path: Path) -> IdentityKey:
    """Read a key file. Raises `LocalError` when it is unreadable, not a key, or open to others."""
    data = read_file(path, _MAX_KEY_FILE)
    if os.name == "posix":
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise LocalError(f"{path} can be read by others (mode {mode:04o}): run `chmod 600 {path}`")
    fields = data.decode("ascii", errors="replace").split()
    if len(fields) != 5 or fields[0] != _TITLE or fields[1] != "public" or fields[3] != "secret":
        raise LocalError(f"{path} is not a signer key, as `rookery bootstrap keygen` writes it")
    seed = read_key(fields[4])
    if seed is None:
        raise LocalError(f"{path} is damaged: its secret is not 52 characters of z-base-32")
    key = IdentityKey.from_seed(seed)
    if key.public.text != fields[2]:
        raise LocalError(f"{path} is damaged: its public and secret parts do not belong together")
    return key
