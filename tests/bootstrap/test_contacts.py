from __future__ import annotations

import pytest

from bootstrap.contacts import ContactForm, format_endpoint, parse_endpoint, read_contact, usable_node_key
from bootstrap.refusals import ListRefused, Refusal
from dht.errors import LocalError
from dht.identity import NodeKey, to_zbase32

KEY = NodeKey.from_secret(b"\x21" * 32).public


@pytest.mark.parametrize("text", ["192.0.2.1:1", "[2001:db8::1]:65535", "node.example.org:7700", "localhost:7700"])
def test_endpoints_come_back_as_they_were_written(text):
    assert format_endpoint(parse_endpoint(text)[0]) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "192.0.2.1",
        "192.0.2.1:",
        "192.0.2.1:0",
        "192.0.2.1:65536",
        "192.0.2.1:-1",
        "192.0.2.1:٣",
        "2001:db8::1:7700",
        "[192.0.2.1]:7700",
        "192.0.2.256:7700",
        "1.2.3:7700",
        "[fe80::1%eth0]:7700",
        "[::ffff:192.0.2.1]:7700",
        "0.0.0.0:7700",
        "[::]:7700",
        "224.0.0.1:7700",
        "255.255.255.255:7700",
        "a b:7700",
        "-a.example:7700",
        "a..example:7700",
        f"{'a' * 64}.example:7700",
        f"{'a.' * 130}example:7700",
        "[node.example.org]:7700",
        "user@h:7700",
    ],
)
def test_useless_endpoints_are_refused_with_their_text(text):
    with pytest.raises(LocalError, match=r"is not an address|port|neither|brackets|zone|no single machine"):
        parse_endpoint(text)


@pytest.mark.parametrize(
    "form",
    [
        ContactForm("short", ["192.0.2.1:1"], [], ""),
        ContactForm(to_zbase32(KEY).upper(), ["192.0.2.1:1"], [], ""),
        ContactForm(to_zbase32(bytes(32)), ["192.0.2.1:1"], [], ""),
        ContactForm(to_zbase32(KEY), [], [], ""),
        ContactForm(to_zbase32(KEY), [f"192.0.2.{n}:1" for n in range(1, 10)], [], ""),
        ContactForm(to_zbase32(KEY), ["192.0.2.1:1", "192.0.2.1:1"], [], ""),
        ContactForm(to_zbase32(KEY), ["192.0.2.1:01"], [], ""),
        ContactForm(to_zbase32(KEY), ["[2001:DB8::1]:1"], [], ""),
        ContactForm(to_zbase32(KEY), ["node.example.org:1"], [], ""),
        ContactForm(to_zbase32(KEY), [], ["192.0.2.1:1"], ""),
        ContactForm(to_zbase32(KEY), [], ["Node.example.org:1"], ""),
        ContactForm(to_zbase32(KEY), ["192.0.2.1:1"], [], "x" * 65),
        ContactForm(to_zbase32(KEY), ["192.0.2.1:1"], [], "\x1b[31m"),
        ContactForm(to_zbase32(KEY), ["192.0.2.1:1"], [], "\u202eleft"),
    ],
)
def test_contacts_that_may_not_stand_in_a_list(form):
    with pytest.raises(ListRefused) as caught:
        read_contact(form)
    assert caught.value.reason is Refusal.BAD_CONTACT


def test_small_order_node_keys_are_not_usable():
    # RFC 7748 section 6.1: results of all zeros; points 0, 1 and p-1 of the curve give them.
    prime = 2**255 - 19
    for u in (0, 1, prime - 1, prime, prime + 1):
        assert not usable_node_key(u.to_bytes(32, "little"))
    assert usable_node_key(KEY)
