"""Whom a member of a topic knows, announces itself to and dials; and what made-up members cost it."""

import itertools
from random import Random

from dht.identity import IdentityKey
from node.protocols.topic_members import (
    DEAD_AFTER,
    DIALS_AT_ONCE,
    LONGEST_PAUSE,
    MAX_KNOWN,
    PER_SOURCE,
    AnnounceNow,
    DialNow,
    LookUpNow,
    MembersConfig,
    TopicMembers,
)
from node.protocols.topic_messages import TopicRefusal
from node.protocols.topics import AnnouncementFlags, TopicKey

NOW = 1_800_000_000.0
KEY = TopicKey.public("chess")
CONFIG = MembersConfig()
NONE = AnnouncementFlags(0)


def identity(number: int) -> IdentityKey:
    return IdentityKey.from_seed(number.to_bytes(32, "big"))


def said(number, *, seq=1, flags=NONE, now=NOW, life=3600.0):
    record = KEY.announce(
        identity(number), identity(number), flags, shard=0, seq=seq, expires=now + life, nonce=bytes(24)
    )
    return KEY.read(record)


def key(number):
    return identity(number).public


def members(seed=1):
    return TopicMembers(key(0), KEY, 3, NOW, Random(seed))


def kinds(due, kind):
    return [one for one in due if isinstance(one, kind)]


def test_a_member_announces_looks_up_and_dials_at_once():
    mine = members()
    due = mine.handle_timer(NOW)
    assert kinds(due, AnnounceNow) == [AnnounceNow(AnnouncementFlags(0), (0,))]
    assert kinds(due, LookUpNow) == [LookUpNow((0,))]
    mine.announced(20, 15, 0, NOW + 1)
    mine.found([said(number) for number in range(1, 10)], NOW + 1)
    dials = kinds(mine.handle_timer(NOW + 1), DialNow)
    assert len(dials) == DIALS_AT_ONCE and all(dial.needy for dial in dials)
    assert not kinds(mine.handle_timer(NOW + 1), DialNow)
    for dial in dials:
        mine.linked(dial.peer)
    assert len(kinds(mine.handle_timer(NOW + 2), DialNow)) == CONFIG.target - DIALS_AT_ONCE
    assert not mine.needy and len(mine.neighbours) == DIALS_AT_ONCE


def test_announcements_are_renewed_before_they_lapse_and_not_in_step():
    times = set()
    for seed in range(10):
        mine = members(seed)
        mine.handle_timer(NOW)
        mine.found([], NOW)
        mine.announced(20, 15, 0, NOW)
        at = mine.next_timer()
        while not kinds(due := mine.handle_timer(at), AnnounceNow):
            if kinds(due, LookUpNow):
                mine.found([], at)
            at = mine.next_timer()
        times.add(round(at))
        assert CONFIG.announce_every * 0.79 < at - NOW < CONFIG.lifetime / 1.5
    assert len(times) > 5


def test_an_announcement_that_few_stored_is_made_again_soon_and_ever_later():
    mine, at, pauses = members(), NOW, []
    for _ in range(8):
        mine.handle_timer(at)
        mine.announced(0, 15, 0, at)
        mine.found([], at)
        pauses.append(mine._announce_at - at)
        at = mine._announce_at
    assert pauses[0] <= 6 and pauses[-1] >= 240 and max(pauses) <= 360


def test_who_finds_the_first_place_full_announces_at_its_further_one_and_readers_read_on():
    mine = members()
    mine.handle_timer(NOW)
    mine.announced(3, 15, 17, NOW)
    assert kinds(mine.handle_timer(NOW + 2), AnnounceNow)[0].shards == (0, 3)
    mine.announced(20, 15, 17, NOW + 2)
    assert mine._announce_at - NOW > 600
    mine.found([said(number) for number in range(1, 101)], NOW + 2)
    mine._look_up_at = NOW + 3
    (look,) = kinds(mine.handle_timer(NOW + 3), LookUpNow)
    assert len(look.shards) == 3 and look.shards[0] == 0


def test_who_is_told_to_wait_comes_back_when_it_may_and_goes_to_no_further_place():
    mine = members()
    mine.handle_timer(NOW)
    mine.announced(4, 15, 0, NOW, wait=11.0)
    assert not kinds(mine.handle_timer(NOW + 10.9), AnnounceNow)
    assert kinds(mine.handle_timer(NOW + 11.0), AnnounceNow)[0].shards == (0,)
    mine.announced(16, 15, 0, NOW + 11.0, wait=60.0)  # Enough hold it: the few others need not.
    assert not kinds(mine.handle_timer(NOW + 100.0), AnnounceNow)


def test_look_ups_grow_seldom_while_nobody_is_there():
    mine, at, times = members(), NOW, []
    while at < NOW + 7200:
        if kinds(mine.handle_timer(at), LookUpNow):
            times.append(at)
            mine.found([], at)
        mine._announce_at = None
        at = mine.next_timer()
    assert 15 < len(times) < 30
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert gaps[0] < 3 and max(gaps) <= LONGEST_PAUSE * 1.2


def test_the_dead_are_dialled_three_times_and_once_more_when_they_announce_anew():
    mine = members()
    mine.found([said(1, life=90_000)], NOW)
    at, dials = NOW, 0
    for _ in range(200):
        for _dial in kinds(mine.handle_timer(at), DialNow):
            dials += 1
            mine.failed(key(1), at)
        mine.found([said(1, life=90_000)], at)
        at += 60
    assert dials == DEAD_AFTER and key(1) not in mine.known
    mine.found([said(1, seq=2, life=90_000)], at)
    assert kinds(mine.handle_timer(at), DialNow)


def test_who_has_left_is_not_dialled():
    mine = members()
    mine.found([said(1), said(2, flags=AnnouncementFlags.LEAVING)], NOW)
    mine.learn([said(1, seq=2, flags=AnnouncementFlags.LEAVING)], None, NOW)
    assert not kinds(mine.handle_timer(NOW), DialNow) and mine.known == ()


def test_a_neighbour_that_is_lost_is_dialled_again_soon_and_one_that_left_is_not():
    mine = members()
    mine.found([said(1), said(2)], NOW)
    mine.handle_timer(NOW)
    for number in (1, 2):
        mine.linked(key(number))
    mine.unlinked(key(1), TopicRefusal.UNSPECIFIED, NOW)
    mine.unlinked(key(2), TopicRefusal.LEAVING, NOW)
    again = [dial for at in range(1, 8) for dial in kinds(mine.handle_timer(NOW + at), DialNow)]
    assert [dial.peer for dial in again] == [key(1)]


def test_a_flood_of_made_up_members_is_bounded_and_honest_ones_are_found_among_them():
    mine = members()
    at = NOW
    made_up = [said(number, life=90_000) for number in range(1000, 3000)]
    honest = [said(number, life=90_000) for number in range(1, 9)]
    found_honest, dials = set(), 0
    for _ in range(60):
        mine.found([*made_up, *honest], at)
        for dial in kinds(mine.handle_timer(at), DialNow):
            dials += 1
            if dial.peer in {one.member for one in honest}:
                found_honest.add(dial.peer)
                mine.linked(dial.peer)
            else:
                mine.failed(dial.peer, at)
        at += 60
        assert len(mine._known) <= MAX_KNOWN
    assert dials <= 60 * 20
    assert mine.counters.dead + len(mine._known) > 100


def test_one_neighbour_names_no_more_than_its_share_and_pushes_nobody_out():
    mine = members()
    mine.learn([said(number) for number in range(1000, 1200)], key(1), NOW)
    assert len(mine.known) == PER_SOURCE
    mine.found([said(number) for number in range(2000, 2100)], NOW)
    assert len(mine.known) == PER_SOURCE + 100
    mine.learn([said(1000)], None, NOW)
    assert mine.counters.crowded_out == 200 - PER_SOURCE


def test_what_a_neighbour_hands_on_is_checked():
    mine = members()
    good = said(1).record.raw
    other = TopicKey.public("go").announce(
        identity(2), identity(2), AnnouncementFlags(0), shard=0, seq=1, expires=NOW + 60, nonce=bytes(24)
    )
    forged = good[:-1] + bytes([good[-1] ^ 1])
    read = mine.read([good, other.raw, forged, b"", b"rubbish", said(3, life=-10).record.raw], NOW)
    assert [one.member for one in read] == [key(1)]


def test_neighbours_are_shared_before_others_and_never_the_dead():
    mine = members()
    mine.found([said(number) for number in range(1, 21)], NOW)
    for number in (1, 2):
        mine.linked(key(number))
    mine.failed(key(3), NOW)
    shared = {one.member for one in mine.read(mine.share(key(1), NOW), NOW)}
    assert key(2) in shared and key(1) not in shared and key(3) not in shared and len(shared) == 8


def test_a_full_member_says_so():
    mine = members()
    for number in range(1, CONFIG.most + 1):
        mine.linked(key(number))
    assert mine.full
    assert kinds(mine.handle_timer(NOW), AnnounceNow)[0].flags == AnnouncementFlags.FULL
