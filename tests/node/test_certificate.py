"""The kept certificate: the same after a restart, unreadable to others, and never taken when damaged."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dht.identity import IdentityKey
from node.adapters.certificate import HEADER, generate_certificate, load_certificate, load_or_create_certificate
from node.adapters.keyfile import (
    KeyFileDamaged,
    KeyFileMissing,
    KeyFileUnsafe,
    KeyFileWrongKind,
    create_identity,
    create_private,
)


def test_it_is_made_once_and_is_the_same_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "certificate"
    with pytest.raises(KeyFileMissing):
        load_certificate(path)
    first = load_or_create_certificate(path)
    assert load_or_create_certificate(path) == first == load_certificate(path)
    assert len(first.fingerprint) == 32
    assert "PRIVATE" not in repr(first)
    if sys.platform != "win32":
        assert path.stat().st_mode & 0o777 == 0o600


def test_two_at_once_get_the_same(tmp_path: Path) -> None:
    path = tmp_path / "certificate"
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(load_or_create_certificate, [path] * 4))
    assert len({one.fingerprint for one in made}) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="mode bits mean nothing there")
def test_others_may_not_read_it(tmp_path: Path) -> None:
    path = tmp_path / "certificate"
    load_or_create_certificate(path)
    os.chmod(path, 0o644)
    with pytest.raises(KeyFileUnsafe):
        load_or_create_certificate(path)


def test_damage_and_other_files_are_refused_and_left_alone(tmp_path: Path) -> None:
    one, other = generate_certificate(), generate_certificate()
    texts = [
        f"{HEADER}\n{one.key}{other.certificate}",
        f"{HEADER}\n{one.key}{one.certificate}more",
        f"{HEADER}\n{one.key.replace('A', 'B')}{one.certificate}",
        f"{HEADER}\n{one.key}{one.certificate[:200]}\n-----END CERTIFICATE-----\n",
        "",
    ]
    for number, text in enumerate(texts):
        path = tmp_path / str(number)
        create_private(path, text)
        with pytest.raises(KeyFileDamaged, match="move it away"):
            load_or_create_certificate(path)
        assert path.read_text() == text
    path = tmp_path / "identity"
    create_identity(path, IdentityKey.from_seed(bytes(31) + b"\1"))
    with pytest.raises(KeyFileWrongKind):
        load_or_create_certificate(path)
