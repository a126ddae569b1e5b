from __future__ import annotations

import asyncio
import os
import socket
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from bootstrap.firstcontacts import MAX_FILE
from bootstrap.refusals import Refusal
from bootstrap.sources import Status, fetch_first_contacts
from bootstrap.store import FileListStorage
from bootstrap.trust import make_rotation
from dht.errors import LocalError

NOW = 1_800_000_000


class MemoryStorage:
    def __init__(self, data=None):
        self.data = data

    def load(self):
        return self.data

    def save(self, data):
        self.data = data


@pytest.fixture
def ask(signers):
    async def _ask(sources, storage=None, now=NOW, **options):
        storage = MemoryStorage() if storage is None else storage
        return await fetch_first_contacts(
            [str(source) for source in sources], signers.root, "testnet", storage, clock=lambda: now, **options
        )

    return _ask


@asynccontextmanager
async def serving(**handlers):
    app = web.Application()
    for name, handler in handlers.items():
        app.router.add_get(f"/{name}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def body(data, **options):
    async def handler(_):
        return web.Response(body=data, **options)

    return handler


def redirect(target):
    async def handler(_):
        return web.Response(status=302, headers={"Location": target})

    return handler


@pytest.mark.parametrize("form", ["{}", "file://{}"])
async def test_a_file_is_taken_and_kept(ask, make_bytes, tmp_path, form):
    path = tmp_path / "a list.json"
    path.write_bytes(make_bytes(0, 1))
    storage = FileListStorage(tmp_path / "kept" / "list.json")
    report = await ask([form.format(path)], storage)
    assert [outcome.status for outcome in report.outcomes] == [Status.ACCEPTED]
    assert report.outcomes[0].sequence == 7
    assert len(report.contacts) == 2
    assert not report.hints_only
    assert storage.load() == make_bytes(0, 1)


async def test_http_with_redirects_of_the_same_scheme(ask, make_bytes):
    async with serving(a=redirect("/b"), b=redirect("c"), c=body(make_bytes(0, 1))) as base:
        report = await ask([f"{base}/a"])
    assert report.outcomes[0].status is Status.ACCEPTED
    assert report.origin == f"{base}/a"


@pytest.mark.parametrize(
    ("handler", "status", "text"),
    [
        (redirect("file:///etc/hostname"), Status.UNREACHABLE, "not followed"),
        (redirect("ftp://127.0.0.1/list"), Status.UNREACHABLE, "not followed"),
        (redirect("/list"), Status.UNREACHABLE, "redirects more than 3 times"),
        (body(b"gone", status=404), Status.UNREACHABLE, "404"),
        (body(b"x", headers={"Content-Encoding": "gzip"}), Status.UNREACHABLE, "compression"),
        (body(b"x" * (MAX_FILE * 2)), Status.REFUSED, "at most"),
        (body(b"<html>"), Status.REFUSED, "not a first-contact list"),
    ],
)
async def test_http_answers_that_give_no_list(ask, handler, status, text):
    async with serving(list=handler) as base:
        report = await ask([f"{base}/list"])
    assert report.outcomes[0].status is status
    assert text in report.outcomes[0].message
    assert report.current is None
    assert report.contacts == ()


async def test_sources_that_are_no_list_say_why(ask, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    names = [tmp_path / "missing", tmp_path, tmp_path / "pipe", "gopher://x/y", "http://127.0.0.1:1/", "file://host/x"]
    report = await ask(names)
    assert {outcome.status for outcome in report.outcomes} == {Status.UNREACHABLE}
    texts = ["does not exist", "directory", "not a regular file", "not over 'gopher'", "127.0.0.1", "has no host"]
    for outcome, text in zip(report.outcomes, texts, strict=True):
        assert text in outcome.message


async def test_a_failing_source_hands_on_at_once_and_the_rest_is_not_needed(ask, make_bytes, tmp_path):
    path = tmp_path / "list.json"
    path.write_bytes(make_bytes(0, 1))
    report = await asyncio.wait_for(ask([tmp_path / "none", path, path.with_suffix(".x")], head_start=3600), 30)
    assert [each.status for each in report.outcomes] == [Status.UNREACHABLE, Status.ACCEPTED, Status.NOT_NEEDED]


async def test_a_hanging_source_is_overtaken(ask, make_bytes, tmp_path):
    path = tmp_path / "list.json"
    path.write_bytes(make_bytes(0, 1))

    # Connected by the system's backlog, never accepted: the request hangs.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        source = f"http://127.0.0.1:{silent.getsockname()[1]}/list"
        report = await ask([source, path], head_start=0.01, timeout=60)
        assert [each.status for each in report.outcomes] == [Status.NOT_NEEDED, Status.ACCEPTED]
        report = await ask([source], timeout=0.01)
        assert report.outcomes[0].message == "no answer within 0.01 s"


async def test_lower_sequence_and_conflict_leave_the_last_good_list(ask, make_bytes, tmp_path):
    kept = make_bytes(0, 1)
    storage = MemoryStorage(kept)
    (tmp_path / "old").write_bytes(make_bytes(0, 1, sequence=6))
    (tmp_path / "other").write_bytes(make_bytes(0, 1, expires_at=NOW + 9))
    report = await ask([tmp_path / "old", tmp_path / "other"], storage)
    assert [each.refusal for each in report.outcomes] == [Refusal.LOWER_SEQUENCE, Refusal.CONFLICT]
    assert report.origin == "last good list"
    assert report.current.content.sequence == 7
    assert storage.data == kept
    (tmp_path / "new").write_bytes(make_bytes(0, 1, sequence=8))
    report = await ask([tmp_path / "new"], storage)
    assert report.current.content.sequence == 8
    assert storage.data == make_bytes(0, 1, sequence=8)


async def test_the_same_list_again_is_unchanged(ask, make_bytes, tmp_path):
    (tmp_path / "list").write_bytes(make_bytes(1, 2))
    storage = MemoryStorage(make_bytes(0, 1))
    report = await ask([tmp_path / "list"], storage)
    assert report.outcomes[0].status is Status.UNCHANGED
    assert storage.data == make_bytes(0, 1)


async def test_an_expired_last_good_list_gives_hints_and_still_guards(ask, make_bytes, tmp_path):
    storage = MemoryStorage(make_bytes(0, 1))
    (tmp_path / "old").write_bytes(make_bytes(0, 1, sequence=6, expires_at=NOW + 300 * 86400))
    report = await ask([tmp_path / "old"], storage, now=NOW + 2 * 86400)
    assert report.hints_only
    assert len(report.contacts) == 2
    assert report.outcomes[0].refusal is Refusal.LOWER_SEQUENCE


async def test_a_damaged_or_foreign_last_good_list_is_reported_not_used(ask, make_bytes, tmp_path):
    (tmp_path / "list").write_bytes(make_bytes(0, 1))
    for kept in (b"\x00damaged", make_bytes(3, 4, sequence=2**64 - 1)):
        storage = MemoryStorage(kept)
        report = await ask([tmp_path / "list"], storage)
        assert report.current.content.sequence == 7
        assert len(report.problems) == 1
        assert "kept from before is not used" in report.problems[0]
        assert storage.data == make_bytes(0, 1)


async def test_storage_that_fails_does_not_fail_the_node(ask, make_bytes, tmp_path):
    class Broken(MemoryStorage):
        def load(self):
            raise LocalError("disk on fire")

        def save(self, data):
            raise LocalError("still on fire")

    (tmp_path / "list").write_bytes(make_bytes(0, 1))
    report = await ask([tmp_path / "list"], Broken())
    assert report.current is not None
    assert [text.rsplit(": ", 1)[1] for text in report.problems] == ["disk on fire", "still on fire"]


async def test_a_rotation_outlives_the_restart(ask, make_bytes, signers, sign_rotation, tmp_path):
    rotation = sign_rotation(make_rotation("testnet", 1, signers.root, signers.next_root), 0, 1, 3, 4)
    storage = MemoryStorage()
    (tmp_path / "rotated").write_bytes(make_bytes(3, 4, rotations=(rotation,)))
    assert (await ask([tmp_path / "rotated"], storage)).current is not None
    (tmp_path / "stolen").write_bytes(make_bytes(0, 1, sequence=99))
    report = await ask([tmp_path / "stolen"], storage)
    assert report.outcomes[0].refusal is Refusal.NOT_ENOUGH_SIGNATURES
    assert report.current.content.sequence == 7


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    storage = FileListStorage(tmp_path / "list")
    storage.save(b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LocalError, match="No space left"):
        storage.save(b"new")
    assert storage.load() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["list"]
