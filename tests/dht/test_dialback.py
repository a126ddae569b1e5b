"""A round of dial-backs, and who may have a probe."""

import random

import pytest

from dht.config import DhtConfig
from dht.constants import TOKEN_BYTES
from dht.contact import Contact
from dht.dialback import DIAL_RATE, ROUND_SECONDS, VOTERS, DialBackAnswers, DialBackRound
from dht.events import Event
from dht.operation import Families, Operation
from dht.records import Refusal, SignedRecord, VerdictCache
from dht.requests import Pending, Requests
from dht.responder import Asking
from dht.wire import DialBack, Dialed, Message, Nodes, Ping, Pong, Request

TOKEN = bytes(TOKEN_BYTES)
OBSERVED = bytes((20, 9, 9, 9, 15, 160))


def contact(network: int, host: int = 1) -> Contact:
    return Contact(bytes((network, host)) * 16, (f"20.0.{network}.{host}", 1000))


ELSEWHERE = ("203.0.113.99", 9)
"""Another socket than the one that was asked."""


class Sent:
    """An engine that only notes what is sent."""

    def __init__(self) -> None:
        self.config = DhtConfig()
        self.requests = Requests(self.config, random.Random(1))
        self.verdicts = VerdictCache()
        self.own_key = bytes(32)
        self.sent_at = [0.0, 0.0]
        self.sent: list[tuple[type[Request], Contact, tuple[object, ...]]] = []

    def request(
        self,
        contact: Contact,
        owner: Operation,
        kind: type[Request],
        fields: tuple[object, ...],
        now: float,
        *,
        tag: object = None,
        resend: bool = False,
        timeout: float | None = None,
        bare: bool = False,
    ) -> int:
        self.sent.append((kind, contact, fields))
        return len(self.sent)

    def emit(self, event: Event) -> None: ...

    def wait(self, operation: Operation) -> None: ...

    def named_dead(self, referrer: Contact, dead: Contact, now: float) -> None: ...

    def count(self, what: str) -> None: ...

    @property
    def kept_open(self) -> float:
        return self.config.home_keepalive

    @property
    def families(self) -> Families:
        raise NotImplementedError

    def held(self, place: bytes, now: float) -> list[SignedRecord]:
        return []

    def keep(self, record: SignedRecord, until: float, expected_seq: int | None, now: float) -> Refusal:
        return Refusal.NOT_SERVER


class Round:
    """A round at hand, begun at 10.0."""

    def __init__(self, *contacts: Contact, dial: bool = True) -> None:
        self.engine = Sent()
        self.outcome: list[tuple[int, int, float]] = []
        self.round = DialBackRound(
            self.engine,
            random.Random(1),
            10.0,
            dial=dial,
            done=lambda reached, asked, now: self.outcome.append((reached, asked, now)),
        )
        self.round.start(list(contacts), 10.0)

    def asked(self, kind: type[Request]) -> list[Contact]:
        return [contact for sent, contact, _ in self.engine.sent if sent is kind]

    def nonce(self, contact: Contact) -> bytes:
        """The nonce that was sent to this contact."""
        (nonce,) = next(f for kind, asked, f in self.engine.sent if kind is DialBack and asked == contact)
        assert isinstance(nonce, bytes)
        return nonce

    def pong(self, contact: Contact, now: float = 10.1) -> None:
        self.reply(contact, Pong, Pong(1, TOKEN, OBSERVED, 10), now)

    def dialed(self, contact: Contact, refusal: Refusal = Refusal.NONE, now: float = 10.2) -> None:
        self.reply(contact, Dialed, Dialed(1, TOKEN, refusal), now)

    def reply(self, contact: Contact, kind: type[Message], message: Message, now: float) -> None:
        self.round.on_reply(Pending(1, contact, kind, self.round, None), message, now)

    def silence(self, contact: Contact, kind: type[Message] = Pong, now: float = 10.5) -> None:
        self.round.on_failure(Pending(1, contact, kind, self.round, None), now)

    def probe(self, contact: Contact, now: float = 10.3) -> bool:
        return self.round.on_probe(contact.key, self.nonce(contact), ELSEWHERE, now)


A, B, C = contact(1), contact(2), contact(3)


class TestAsking:
    def test_five_are_asked(self) -> None:
        at_hand = Round(*(contact(network) for network in range(20)))
        assert len(at_hand.asked(Ping)) == VOTERS
        assert at_hand.asked(DialBack) == []

    def test_each_of_another_network(self) -> None:
        at_hand = Round(*(contact(network, host) for network in (1, 2) for host in range(10)))
        assert {asked.prefix for asked in at_hand.asked(Ping)} == {A.prefix, B.prefix}
        assert len(at_hand.asked(Ping)) == 2

    def test_who_answered_is_asked_to_dial_back(self) -> None:
        at_hand = Round(A, B)
        at_hand.pong(A)
        assert at_hand.asked(DialBack) == [A]
        assert len(at_hand.nonce(A)) == 8

    def test_each_is_given_a_nonce_of_its_own(self) -> None:
        at_hand = Round(A, B)
        at_hand.pong(A)
        at_hand.pong(B)
        assert at_hand.nonce(A) != at_hand.nonce(B)

    def test_where_the_role_is_fixed_only_votes_are_asked_for(self) -> None:
        at_hand = Round(A, B, dial=False)
        at_hand.pong(A)
        at_hand.pong(B)
        assert at_hand.asked(DialBack) == []
        assert at_hand.outcome == [(0, 0, 10.1)]

    def test_answer_after_the_end_asks_for_nothing(self) -> None:
        at_hand = Round(A, B)
        at_hand.round.finish(13.0)
        at_hand.pong(A, 13.1)
        assert at_hand.asked(DialBack) == []

    def test_answer_of_another_kind_is_ignored(self) -> None:
        at_hand = Round(A)
        at_hand.reply(A, Nodes, Nodes(1, TOKEN, b"", b""), 10.1)
        assert at_hand.asked(DialBack) == []
        assert at_hand.outcome == []


class TestProbes:
    def test_probe_that_was_asked_for_counts(self) -> None:
        at_hand = Round(A)
        at_hand.pong(A)
        assert at_hand.probe(A) is True
        assert at_hand.outcome == [(1, 1, 10.3)]

    def test_probe_before_its_announcement_counts(self) -> None:
        at_hand = Round(A)
        at_hand.pong(A)
        assert at_hand.probe(A) is True
        at_hand.dialed(A)
        assert at_hand.outcome == [(1, 1, 10.3)]

    def test_probe_nobody_asked_for_is_none(self) -> None:
        at_hand = Round(A)
        assert at_hand.round.on_probe(A.key, bytes(8), ELSEWHERE, 10.1) is False

    def test_probe_with_another_nonce_is_none(self) -> None:
        at_hand = Round(A)
        at_hand.pong(A)
        assert at_hand.round.on_probe(A.key, bytes(8), ELSEWHERE, 10.3) is False
        assert at_hand.outcome == []

    def test_probe_with_anothers_nonce_is_none(self) -> None:
        at_hand = Round(A, B)
        at_hand.pong(A)
        at_hand.pong(B)
        assert at_hand.round.on_probe(A.key, at_hand.nonce(B), ELSEWHERE, 10.3) is False
        assert at_hand.round.on_probe(C.key, at_hand.nonce(B), ELSEWHERE, 10.3) is False

    def test_probe_after_the_end_is_none(self) -> None:
        at_hand = Round(A)
        at_hand.pong(A)
        at_hand.round.finish(13.0)
        assert at_hand.probe(A, 13.1) is False

    def test_probe_sent_twice_counts_once(self) -> None:
        at_hand = Round(A, B)
        at_hand.pong(A)
        at_hand.pong(B)
        at_hand.probe(A)
        at_hand.probe(A)
        at_hand.round.finish(13.0)
        assert at_hand.outcome == [(1, 2, 13.0)]


class TestEnd:
    def test_ends_when_all_got_through(self) -> None:
        at_hand = Round(A, B)
        for peer in (A, B):
            at_hand.pong(peer)
        at_hand.probe(A, 10.3)
        assert at_hand.outcome == []
        at_hand.probe(B, 10.4)
        assert at_hand.outcome == [(2, 2, 10.4)]

    def test_quick_peer_does_not_end_it_for_the_rest(self) -> None:
        # Its probe was here before the others had even answered: one peer's word would have decided.
        at_hand = Round(A, B)
        at_hand.pong(A)
        at_hand.probe(A, 10.2)
        assert at_hand.outcome == []
        at_hand.pong(B, 10.3)
        assert at_hand.probe(B, 10.4) is True
        assert at_hand.outcome == [(2, 2, 10.4)]

    def test_who_does_not_answer_is_not_waited_for(self) -> None:
        at_hand = Round(A, B)
        at_hand.pong(A)
        at_hand.probe(A, 10.2)
        at_hand.silence(B, now=10.6)
        assert at_hand.outcome == [(1, 1, 10.6)]

    def test_who_refused_does_not_count_as_asked(self) -> None:
        at_hand = Round(A, B)
        at_hand.pong(A)
        at_hand.pong(B)
        at_hand.dialed(A, Refusal.RATE_LIMITED)
        at_hand.probe(B, 10.4)
        assert at_hand.outcome == [(1, 1, 10.4)]

    def test_probe_is_waited_for_where_only_its_announcement_was_lost(self) -> None:
        at_hand = Round(A)
        at_hand.pong(A)
        at_hand.silence(A, Dialed)
        assert at_hand.outcome == []
        assert at_hand.probe(A, 10.6) is True
        assert at_hand.outcome == [(1, 1, 10.6)]

    def test_when_nobody_answers_nobody_was_asked(self) -> None:
        at_hand = Round(A, B)
        at_hand.silence(A)
        at_hand.silence(B, now=10.6)
        assert at_hand.outcome == [(0, 0, 10.6)]

    def test_time_is_up_after_three_seconds(self) -> None:
        at_hand = Round(A, B)
        assert at_hand.round.ends == 10.0 + ROUND_SECONDS
        at_hand.pong(A)
        at_hand.round.finish(13.0)
        assert at_hand.outcome == [(0, 1, 13.0)]

    def test_ends_only_once(self) -> None:
        at_hand = Round(A)
        at_hand.pong(A)
        at_hand.probe(A)
        at_hand.round.finish(13.0)
        assert len(at_hand.outcome) == 1


class TestAnswers:
    def asking(self, *, proven: bool = True) -> Asking:
        return Asking(A.key, A.address, 200, TOKEN, proven)

    def test_who_showed_a_token_gets_a_probe(self) -> None:
        assert DialBackAnswers().judge(self.asking(), "a", 10.0) is Refusal.NONE

    def test_unproven_address_is_never_dialled(self) -> None:
        assert DialBackAnswers().judge(self.asking(proven=False), "a", 10.0) is Refusal.BAD_TOKEN

    def test_one_source_gets_few(self) -> None:
        answers = DialBackAnswers()
        assert [answers.judge(self.asking(), "a", 10.0) for _ in range(5)] == [
            *[Refusal.NONE] * 4,
            Refusal.RATE_LIMITED,
        ]
        assert answers.judge(self.asking(), "b", 10.0) is Refusal.NONE
        assert answers.judge(self.asking(), "a", 10.0 + 1 / DIAL_RATE) is Refusal.NONE

    @pytest.mark.parametrize("tries", [1, 50])
    def test_unproven_requests_use_up_nobodys_share(self, tries: int) -> None:
        # Anybody can send them in another's name.
        answers = DialBackAnswers()
        for _ in range(tries):
            answers.judge(self.asking(proven=False), "a", 10.0)
        assert answers.judge(self.asking(), "a", 10.0) is Refusal.NONE
