"""The files that hold a node's secret keys: their format, how they come to be, and when one is refused.

Decides that a key file is created whole or not at all, is never overwritten, and is read only when nobody else could
have read or changed it. Refuses to know what a key is used for.

    rookery-identity-v1            (or rookery-node-v1)
    64 hexadecimal digits          the secret
    16 hexadecimal digits          BLAKE2b-64 over both lines above, so that damage is noticed

A key file may not be a symbolic link: its rights would not be those of the folder it seems to lie in. The folders above
it may be links.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import hmac
import os
import secrets
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from dht.constants import KEY_BYTES
from dht.errors import LocalError
from dht.identity import IdentityKey, NodeKey

IDENTITY_HEADER: Final = "rookery-identity-v1"
NODE_HEADER: Final = "rookery-node-v1"

_NAMES: Final = {IDENTITY_HEADER: "an identity key", NODE_HEADER: "a node key"}

_MAX_FILE: Final = 4096
"""Bytes read of a key file, which has about a hundred. UNSOURCED."""

_POSIX: Final = sys.platform != "win32"
"""Elsewhere the profile folder's access list protects the file: mode bits and owners mean nothing there."""

_BACKUP: Final = "restore it from a backup, or move it away to get a new key"

Key = TypeVar("Key", IdentityKey, NodeKey)


class KeyFileError(LocalError):
    """Raised when a key file cannot be used. `problem` says what is wrong with `path`, `remedy` what to do."""

    def __init__(self, path: Path | None, problem: str, remedy: str, *, what: str = "key file") -> None:
        super().__init__(f"{f'{what} {path}' if path else 'exported key'}: {problem}; {remedy}")
        self.path = path
        self.problem = problem
        self.remedy = remedy


class KeyFileMissing(KeyFileError):
    """Raised when there is no key file."""


class KeyFileExists(KeyFileError):
    """Raised when a key was to be created where one is: none is ever overwritten."""


class KeyFileUnsafe(KeyFileError):
    """Raised when others could read or change the key, or put another in its place."""


class KeyFileDamaged(KeyFileError):
    """Raised when the contents are not those that were written."""


class KeyFileWrongKind(KeyFileError):
    """Raised when the file holds another kind of key, or a format of a newer release."""


def export_identity(key: IdentityKey) -> str:
    """Return the text of an identity's key file: whoever has it is that peer."""
    return _to_text(IDENTITY_HEADER, key.seed)


def import_identity(path: Path, text: str) -> IdentityKey:
    """Create the key file `path` from exported `text`. Raises `KeyFileError`."""
    key = IdentityKey.from_seed(_from_text(None, IDENTITY_HEADER, text))
    create_identity(path, key)
    return key


def create_identity(path: Path, key: IdentityKey) -> None:
    """Write the identity's key file. Raises `KeyFileExists` when there is one."""
    _create(path, _to_text(IDENTITY_HEADER, key.seed))


def load_identity(path: Path) -> IdentityKey:
    """Read the identity's key file. Raises `KeyFileError`."""
    return IdentityKey.from_seed(_from_text(path, IDENTITY_HEADER, _read(path)))


def load_or_create_identity(path: Path) -> IdentityKey:
    """Read the identity's key file, or make an identity; of two processes at once, both get the same."""
    return _load_or_create(path, load_identity, lambda: create_identity(path, IdentityKey.generate()))


def create_node_key(path: Path, key: NodeKey) -> None:
    """Write the node's key file. Raises `KeyFileExists` when there is one."""
    _create(path, _to_text(NODE_HEADER, key.secret))


def load_node_key(path: Path) -> NodeKey:
    """Read the node's key file. Raises `KeyFileError`."""
    return NodeKey.from_secret(_from_text(path, NODE_HEADER, _read(path)))


def load_or_create_node_key(path: Path) -> NodeKey:
    """Read the node's key file, or make a key; of two processes at once, both get the same."""
    return _load_or_create(path, load_node_key, lambda: create_node_key(path, NodeKey.generate()))


def private_folder(path: Path) -> None:
    """Make the folder with mode 0700, or accept it unless others may write in it. Raises `KeyFileUnsafe`."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = path.stat().st_mode
    except OSError as error:
        raise _from_os_error(path, error, "the folder cannot be made") from error
    if _POSIX and mode & 0o022 and not mode & stat.S_ISVTX:
        problem = f"others may write in it (mode {mode & 0o777:04o}), and put another key there"
        raise KeyFileUnsafe(path, problem, f"chmod 700 {path}", what="folder")


def create_private(path: Path, text: str) -> None:
    """Write a file that nobody else may read, whole or not at all. Raises `KeyFileExists` when there is one."""
    _create(path, text)


def read_private(path: Path) -> str:
    """Read such a file, of 4 KiB of ASCII at most. Raises `KeyFileError`, also when others could have touched it."""
    return _read(path)


def _load_or_create(path: Path, load: Callable[[Path], Key], create: Callable[[], None]) -> Key:
    try:
        return load(path)
    except KeyFileMissing:
        # Whoever comes second reads the first one's key.
        with contextlib.suppress(KeyFileExists):
            create()
        return load(path)


def _digest(header: str, secret: str) -> str:
    return hashlib.blake2b(f"{header}\n{secret}\n".encode(), digest_size=8, person=b"rookery/keyfile").hexdigest()


def _to_text(header: str, secret: bytes) -> str:
    return f"{header}\n{secret.hex()}\n{_digest(header, secret.hex())}\n"


def _from_text(path: Path | None, header: str, text: str) -> bytes:
    lines = text.split()
    found = lines[0] if lines else ""
    if found in _NAMES and found != header:
        raise KeyFileWrongKind(
            path, f"it holds {_NAMES[found]}, not {_NAMES[header]}", "name the right file, or move this one away"
        )
    stem = header.rpartition("-v")[0]
    if found.startswith(f"{stem}-v") and found != header:
        raise KeyFileWrongKind(path, f"its format {found!r} is unknown here", "use the release that wrote it")
    if found != header:
        raise KeyFileDamaged(path, f"it does not begin with {header!r}", _BACKUP)
    if len(lines) != 3:
        raise KeyFileDamaged(path, f"it has {len(lines)} lines instead of 3", _BACKUP)
    # The lines are secret: no message repeats them.
    if not hmac.compare_digest(lines[2].lower().encode(), _digest(header, lines[1].lower()).encode()):
        raise KeyFileDamaged(path, "its checksum does not fit: it was altered or mistyped", _BACKUP)
    try:
        secret = bytes.fromhex(lines[1])
    except ValueError:
        secret = b""
    if len(secret) != KEY_BYTES:
        raise KeyFileDamaged(path, f"its secret is not {KEY_BYTES} bytes in hexadecimal", _BACKUP)
    return secret


def _read(path: Path) -> str:
    # O_NONBLOCK: a named pipe in the key's place must not hang the node.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError as error:
        raise KeyFileMissing(path, "there is none", "name another, or start a node, which makes one") from error
    except OSError as error:
        raise _from_os_error(path, error, "it cannot be read") from error
    try:
        _check_safe(path, os.fstat(descriptor))
        content = os.read(descriptor, _MAX_FILE)
    except OSError as error:
        raise _from_os_error(path, error, "it cannot be read") from error
    finally:
        os.close(descriptor)
    try:
        return content.decode("ascii")
    except UnicodeDecodeError as error:
        raise KeyFileDamaged(path, f"byte {error.start} of it is no text", _BACKUP) from None


def _check_safe(path: Path, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise KeyFileUnsafe(path, "it is a folder", "name the file in it")
    if not stat.S_ISREG(status.st_mode):
        raise KeyFileUnsafe(path, "it is not a regular file", "name a regular file")
    if sys.platform == "win32":
        return
    if status.st_uid != os.geteuid():
        raise KeyFileUnsafe(
            path,
            f"it belongs to user {status.st_uid}, and this is user {os.geteuid()}",
            f"run as that user, or make it yours: chown {os.geteuid()} {path}",
        )
    if status.st_mode & 0o077:
        mode = f"{status.st_mode & 0o777:04o}"
        raise KeyFileUnsafe(
            path, f"others may read or change it (mode {mode}); its key may be known", f"chmod 600 {path}"
        )


def _create(path: Path, text: str) -> None:
    """Put `text` at `path` in one step: under a name of its own first, synced, then linked, which fails if one exists.

    So no reader ever sees half a file, and a power cut leaves all of it or nothing.
    """
    private_folder(path.parent)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        _write_new(draft, text)
        try:
            os.link(draft, path)
        except FileExistsError:
            raise
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
                raise
            # No links on this file system (FAT): a reader at this very moment may see half a file, and says so.
            _write_new(path, text)
        _sync_folder(path.parent)
    except FileExistsError as error:
        raise KeyFileExists(path, "there is one, and it is not overwritten", "move it away first") from error
    except OSError as error:
        raise _from_os_error(path, error, "it cannot be written") from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def _write_new(path: Path, text: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    descriptor = os.open(path, flags, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _sync_folder(path: Path) -> None:
    if not _POSIX:
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _from_os_error(path: Path, error: OSError, what: str) -> KeyFileError:
    if error.errno == errno.ELOOP:
        return KeyFileUnsafe(path, "it is a symbolic link", "name the file it points to, or put the file here")
    if error.errno in (errno.EACCES, errno.EPERM):
        return KeyFileError(path, f"{what} (no permission)", "give this user the right, or choose another")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return KeyFileError(path, f"{what} (the disk is full)", "free some space")
    return KeyFileError(path, f"{what} ({error.strerror})", "check the path")
