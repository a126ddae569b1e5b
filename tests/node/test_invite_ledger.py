"""The ledger counts right: whoever comes at once, whatever is killed, however often somebody asks again."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from dht.identity import IdentityKey
from node.adapters.invite_ledger import KEPT_AFTER, InviteLedger, LedgerFault, Taking
from node.protocols.invite import Invite, make_invite
from tests.node.test_invite import DAY, INVITER, NATED, NOW

JOINERS = [IdentityKey.from_seed(bytes([n]) * 32).public for n in range(8)]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def ledger(tmp_path: Path) -> InviteLedger:
    return InviteLedger(tmp_path / "invites.db")


def kept(ledger: InviteLedger, token: bytes = b"abcd", uses: int = 1) -> Invite:
    made = make_invite(INVITER, replace(NATED, token=token, uses=uses))
    assert ledger.add(made, NOW)
    return made


def test_one_use_is_for_one(ledger: InviteLedger) -> None:
    made = kept(ledger)
    assert ledger.take(made.token, JOINERS[0], NOW) is Taking.TAKEN
    assert ledger.take(made.token, JOINERS[1], NOW) is Taking.USED_UP
    # Its answer may have been lost; it comes again, even when the invite has expired meanwhile.
    assert ledger.take(made.token, JOINERS[0], NOW + 2 * DAY) is Taking.AGAIN
    entry = ledger.find(made.token)
    assert entry is not None
    assert (entry.redeemed, entry.state(NOW)) == (((JOINERS[0], NOW),), "used-up")


def test_three_uses_are_for_three(ledger: InviteLedger) -> None:
    made = kept(ledger, uses=3)
    said = [ledger.take(made.token, joiner, NOW) for joiner in JOINERS[:4]]
    assert said == [Taking.TAKEN] * 3 + [Taking.USED_UP]


def test_a_use_that_brought_nothing_is_given_back(ledger: InviteLedger) -> None:
    made = kept(ledger)
    ledger.take(made.token, JOINERS[0], NOW)
    ledger.give_back(made.token, JOINERS[0])
    assert ledger.take(made.token, JOINERS[1], NOW) is Taking.TAKEN


def test_expired_revoked_and_unknown(ledger: InviteLedger) -> None:
    assert ledger.take(b"none", JOINERS[0], NOW) is Taking.UNKNOWN
    first, second = kept(ledger), kept(ledger, b"efgh")
    assert ledger.take(b"none", JOINERS[0], NOW) is Taking.UNKNOWN
    assert ledger.take(first.token, JOINERS[0], first.expires + 1) is Taking.EXPIRED
    ledger.take(second.token, JOINERS[0], NOW)
    assert ledger.revoke(second.token, NOW)
    assert not ledger.revoke(second.token, NOW)
    # Taken back, it lets nobody in, not even who was in before.
    assert ledger.take(second.token, JOINERS[0], NOW) is Taking.REVOKED
    assert [entry.state(NOW) for entry in ledger.entries()] == ["open", "revoked"]
    assert ledger.named(f" {second.id.upper()} ").revoked == NOW


def test_nothing_is_made_by_asking(ledger: InviteLedger) -> None:
    assert (ledger.entries(), ledger.find(b"abcd")) == ([], None)
    with pytest.raises(LedgerFault, match="no invite 'yyyyyyy'"):
        ledger.named("yyyyyyy")
    assert not ledger.path.exists()


def test_a_token_is_there_once_and_old_invites_go(ledger: InviteLedger) -> None:
    made = kept(ledger)
    ledger.take(made.token, JOINERS[0], NOW)
    assert not ledger.add(make_invite(INVITER, replace(NATED, token=b"abcd", uses=2)), NOW)
    later = made.expires + int(KEPT_AFTER) + 1
    new = make_invite(INVITER, replace(NATED, token=b"efgh", issued=later, expires=later + DAY))
    assert ledger.add(new, later)
    assert [entry.invite.token for entry in ledger.entries()] == [b"efgh"]
    assert ledger.find(b"abcd") is None


def test_nobody_else_may_read_it(ledger: InviteLedger) -> None:
    kept(ledger)
    assert ledger.path.stat().st_mode & 0o777 == 0o600


def test_what_is_no_ledger_is_left_alone(ledger: InviteLedger) -> None:
    ledger.path.write_bytes(b"not a database at all, but some text of somebody's")
    with pytest.raises(LedgerFault, match="cannot be read"):
        ledger.entries()
    ledger.path.unlink()
    with sqlite3.connect(ledger.path) as db:
        db.execute("CREATE TABLE theirs (x)")
    with pytest.raises(LedgerFault, match="another program's"):
        ledger.entries()
    ledger.path.unlink()
    kept(ledger)
    with sqlite3.connect(ledger.path) as db:
        db.execute("PRAGMA user_version = 2")
    with pytest.raises(LedgerFault, match="newer release"):
        ledger.entries()


def test_of_eight_at_once_one_gets_in(ledger: InviteLedger) -> None:
    made = kept(ledger)
    start, said = threading.Barrier(8), []

    def come(number: int) -> None:
        start.wait()
        said.append(InviteLedger(ledger.path).take(made.token, JOINERS[number], NOW))

    threads = [threading.Thread(target=come, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.value for one in said) == ["taken"] + ["used-up"] * 7


TAKER = """
import sys
from pathlib import Path
from dht.identity import IdentityKey
from node.adapters.invite_ledger import InviteLedger
ledger, number = InviteLedger(Path(sys.argv[1])), int(sys.argv[2])
said = ledger.take(b"abcd", IdentityKey.from_seed(bytes([number]) * 32).public, 1_800_000_000.0)
print(said.value, flush=True)
sys.stdin.read()
"""


def test_what_was_taken_when_the_inviter_was_killed_stays_taken(ledger: InviteLedger) -> None:
    kept(ledger)
    taker = subprocess.Popen(
        [sys.executable, "-c", TAKER, str(ledger.path), "1"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert taker.stdin is not None and taker.stdout is not None
    assert taker.stdout.readline() == "taken\n"
    taker.send_signal(signal.SIGKILL)
    taker.communicate()
    assert ledger.take(b"abcd", JOINERS[2], NOW) is Taking.USED_UP
    assert ledger.take(b"abcd", JOINERS[1], NOW) is Taking.AGAIN
