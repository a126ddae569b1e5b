"""Key files: created whole and once, read only when nobody else could have touched them."""

import errno
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from dht.identity import IdentityKey, NodeKey
from node.adapters.keyfile import (
    KeyFileDamaged,
    KeyFileError,
    KeyFileExists,
    KeyFileMissing,
    KeyFileUnsafe,
    KeyFileWrongKind,
    create_identity,
    create_node_key,
    export_identity,
    import_identity,
    load_identity,
    load_node_key,
    load_or_create_identity,
    load_or_create_node_key,
)
from node.adapters.keyfile_folder import DataDirLock, DataDirTaken

ROOT = Path(__file__).resolve().parents[2]
KEY = IdentityKey.from_seed(bytes(range(32)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "identity.key"


def test_a_key_comes_back(path: Path) -> None:
    create_identity(path, KEY)
    assert load_identity(path) == KEY
    node = path.with_name("node.key")
    assert load_or_create_node_key(node) == load_node_key(node)


def test_the_format_does_not_change(path: Path) -> None:
    create_identity(path, KEY)
    assert path.read_text() == (
        "rookery-identity-v1\n000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n27cf520151423dc8\n"
    )


def test_file_and_folder_are_private_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        load_or_create_identity(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [file.name for file in path.parent.iterdir()] == ["identity.key"]


def test_an_existing_key_is_never_overwritten(path: Path) -> None:
    create_identity(path, KEY)
    with pytest.raises(KeyFileExists, match="not overwritten"):
        create_identity(path, IdentityKey.generate())
    with pytest.raises(KeyFileExists):
        import_identity(path, export_identity(IdentityKey.generate()))
    assert load_identity(path) == KEY
    assert [file.name for file in path.parent.iterdir()] == ["identity.key"]


def test_even_a_damaged_key_is_not_overwritten(path: Path) -> None:
    create_identity(path, KEY)
    path.write_text("scribble")
    with pytest.raises(KeyFileDamaged):
        load_or_create_identity(path)
    assert path.read_text() == "scribble"


def test_export_and_import_move_an_identity(path: Path) -> None:
    assert import_identity(path, export_identity(KEY)) == KEY
    assert load_identity(path) == KEY
    assert (
        import_identity(
            path.with_name("typed"),
            export_identity(KEY).upper().replace("ROOKERY-IDENTITY", "rookery-identity").replace("-V1", "-v1"),
        )
        == KEY
    )


def test_a_mistyped_export_is_refused_and_creates_nothing(path: Path) -> None:
    with pytest.raises(KeyFileDamaged, match="exported key: its checksum") as caught:
        import_identity(path, export_identity(KEY).replace("0001", "0002"))
    assert "0405" not in str(caught.value), "a message never shows the secret"
    assert not path.exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_key_others_can_touch_is_refused(path: Path, mode: int) -> None:
    create_identity(path, KEY)
    path.chmod(mode)
    with pytest.raises(KeyFileUnsafe, match=rf"mode {mode:04o}.*chmod 600"):
        load_identity(path)


def test_a_key_of_somebody_else_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create_identity(path, KEY)
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(KeyFileUnsafe, match=f"belongs to user {owner}"):
        load_identity(path)


def test_a_folder_others_can_write_in_is_refused(path: Path) -> None:
    path.parent.mkdir(mode=0o777)
    path.parent.chmod(0o777)
    with pytest.raises(KeyFileUnsafe, match=r"folder .*chmod 700"):
        load_or_create_identity(path)


def make_folder(path: Path) -> None:
    path.mkdir()


def make_link(path: Path) -> None:
    create_identity(path.with_name("real"), KEY)
    path.symlink_to("real")


def make_pipe(path: Path) -> None:
    os.mkfifo(path, 0o600)


@pytest.mark.parametrize(
    ("make", "problem"),
    [(make_folder, "is a folder"), (make_link, "symbolic link"), (make_pipe, "not a regular file")],
)
def test_what_is_no_regular_file_is_refused(path: Path, make: Callable[[Path], None], problem: str) -> None:
    path.parent.mkdir(mode=0o700)
    make(path)
    with pytest.raises(KeyFileUnsafe, match=problem):
        load_or_create_identity(path)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda text: text[:-5], "checksum"),
        (lambda text: "", "does not begin"),
        (lambda text: text.replace("\n0001", "\n1001"), "checksum"),
        (lambda text: text.splitlines()[0], "1 lines"),
        (lambda text: "\x00" * 100, "does not begin"),
        (lambda text: text + "é", "no text"),
    ],
)
def test_damage_is_noticed(path: Path, damage: Callable[[str], str], problem: str) -> None:
    create_identity(path, KEY)
    path.write_text(damage(path.read_text()))
    with pytest.raises(KeyFileDamaged, match=problem) as caught:
        load_identity(path)
    assert "backup" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_kind_of_key_is_refused(path: Path) -> None:
    create_node_key(path, NodeKey.generate())
    with pytest.raises(KeyFileWrongKind, match="holds a node key, not an identity key"):
        load_identity(path)
    path.write_text("rookery-identity-v2\n00\n00\n")
    with pytest.raises(KeyFileWrongKind, match="unknown here"):
        load_identity(path)


def test_a_missing_key_is_told_apart(path: Path) -> None:
    with pytest.raises(KeyFileMissing, match="there is none"):
        load_identity(path)
    assert not path.parent.exists()


@pytest.mark.parametrize(
    ("number", "told"), [(errno.ENOSPC, "disk is full"), (errno.EACCES, "no permission"), (errno.EIO, "Input/output")]
)
def test_a_write_that_fails_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch, number: int, told: str) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(KeyFileError, match=told):
        load_or_create_identity(path)
    assert list(path.parent.iterdir()) == []


def test_a_file_system_without_links_will_do(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    create_identity(path, KEY)
    assert load_identity(path) == KEY
    with pytest.raises(KeyFileExists):
        create_identity(path, KEY)
    assert [file.name for file in path.parent.iterdir()] == ["identity.key"]


def test_many_at_once_end_with_one_key(path: Path) -> None:
    found: list[IdentityKey] = []
    barrier = threading.Barrier(16)

    def run() -> None:
        barrier.wait()
        found.append(load_or_create_identity(path))

    threads = [threading.Thread(target=run) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 16
    assert len({key.seed for key in found}) == 1


def test_two_processes_at_once_end_with_one_key(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from node.adapters.keyfile import load_or_create_identity as load;"
        " sys.stdin.read(1); print(load(Path(sys.argv[1])).public)"
    )
    command = [sys.executable, "-c", code, str(path)]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    children = [subprocess.Popen(command, stdin=pipe, stdout=pipe, cwd=ROOT, env=env) for _ in range(2)]
    for child in children:
        assert child.stdin is not None
        child.stdin.write(b"x")
        child.stdin.flush()
    answers = {child.communicate()[0] for child in children}
    assert answers == {f"{load_identity(path).public}\n".encode()}


def test_one_data_folder_takes_one_node(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with DataDirLock(folder):
        with pytest.raises(DataDirTaken, match=rf"in use by process {os.getpid()}\. End that node") as caught:
            DataDirLock(folder).acquire()
        assert caught.value.pid == os.getpid()
    with DataDirLock(folder):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_killed_node_leaves_its_folder_free(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from node.adapters.keyfile_folder import DataDirLock;"
        " DataDirLock(Path(sys.argv[1])).acquire(); print('held', flush=True); sys.stdin.read()"
    )
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdin=pipe, stdout=pipe, cwd=ROOT, env=env)
    assert child.stdout is not None
    assert child.stdout.readline() == b"held\n"
    with pytest.raises(DataDirTaken, match=f"process {child.pid}"):
        DataDirLock(tmp_path).acquire()
    child.kill()
    child.communicate()
    with DataDirLock(tmp_path):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
