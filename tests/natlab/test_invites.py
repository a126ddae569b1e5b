"""An invite leads across NATs: the newcomer knows nothing else, and the inviter is reached through its home nodes."""

from pathlib import Path
from typing import Any

import pytest

from node.adapters.http_client import ApiClient
from node.cli_session import release
from node.protocols.invite_text import find_invite
from tests.natlab.nodes import Daemon, Nodes

NETWORK = {"ROOKERY_NETWORK": "allotment", "ROOKERY_NETWORK_KEY": "ab" * 32}
KNOWS_NOTHING = {
    "ROOKERY_CONTACTS": "",
    "ROOKERY_GATEWAYS": "",
    "ROOKERY_NETWORK": "elsewhere",
    "ROOKERY_NETWORK_KEY": "cd" * 32,
}

JOIN = 40.0
"""Seconds for a newcomer: it starts a guest of that network, on a busy machine."""


async def join(newcomer: Daemon, invite: str) -> list[dict[str, Any]]:
    """What `rookery join INVITE --json` says, by the running node."""
    async with ApiClient(unix=Path((await newcomer.ready())["api"]), release=release()) as client:
        return [event async for event in client.stream("join", {"invite": invite, "timeout": JOIN})]


@pytest.mark.usefixtures("machine")
async def test_newcomers_behind_nats_get_into_a_private_network_of_others_behind_nats() -> None:
    with Nodes(None, **NETWORK) as nodes:
        opened = nodes.open_network(4)
        pairs = [
            (
                nodes.behind("inviter-1", "port-restricted"),
                nodes.behind("newcomer-1", "symmetric", None, **KNOWS_NOTHING),
            ),
            (
                nodes.behind("inviter-2", "symmetric"),
                nodes.behind("newcomer-2", "port-restricted", None, **KNOWS_NOTHING),
            ),
        ]
        await nodes.joined(opened, published=False)
        await nodes.joined([inviter for inviter, _ in pairs])
        for inviter, newcomer in pairs:
            made = await inviter.call("invite")
            invite = find_invite(made["code"])
            # None of its addresses is in the open: home nodes alone lead to the inviter.
            assert invite.homes and invite.node_key is None
            assert {host.rpartition(":")[0] for host in made["addresses"]} <= {inviter.host.v4, f"[{inviter.host.v6}]"}
            events = await join(newcomer, made["uri"])
            assert events[-1]["event"] == "done", events
            assert (events[-1]["network"], events[-1]["kept"]) == ("allotment", "nowhere")
            assert set(made["homes"]) <= set(events[-1]["contacts"])
            (entry,) = (await inviter.call("invites"))["invites"]
            redeemed = [one["peer"] for one in entry["redeemed_by"]]
            assert (entry["state"], redeemed) == ("used-up", [await newcomer.peer()])
