"""The commands about invites: `invite`, `invites`, `revoke-invite`, `join`.

Decides their parameters and documents. Refuses to know how an invite is drawn and how it is redeemed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, Final

from node.adapters.invite_ledger import Entry
from node.api_json import to_json
from node.api_params import Params
from node.protocols.invite import MAX_LIFETIME, MAX_USES, Invite
from node.protocols.invite_text import find_invite, to_code, to_link, to_text, to_uri

if TYPE_CHECKING:
    from node.node import Node

Document = dict[str, Any]

WEEK: Final = 7 * 86400
"""Seconds an invite lives unless told otherwise. UNSOURCED: over a weekend, and a few days more"""


class InviteCommands:
    """The commands of one node that are about invites."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def invite(self, params: Params) -> Document:
        """Make one."""
        network = params.text_or_none("network")
        uses = params.integer("uses", 1, MAX_USES, 1)
        lifetime = params.integer("lifetime", 1, MAX_LIFETIME, WEEK)
        params.done()
        made = await self._node.inviting.make(network=network, uses=uses or 1, lifetime=lifetime or WEEK)
        return invite_document(made, self._node.config.invite_page)

    async def invites(self, params: Params) -> Document:
        """List those there are."""
        params.done()
        now = self._node.driver.now()
        return {"invites": [entry_document(entry, now) for entry in await self._node.inviting.entries()]}

    async def revoke(self, params: Params) -> Document:
        """Take one back."""
        named = params.text("id")
        params.done()
        return entry_document(await self._node.inviting.revoke(named), self._node.driver.now())

    async def join(self, params: Params) -> AsyncGenerator[Document, None]:
        """Redeem one, telling the steps."""
        from node.node_entering import enter

        node = self._node
        invite = find_invite(params.text("invite"))
        timeout = params.seconds("timeout", 30.0)
        params.done()
        steps: asyncio.Queue[str] = asyncio.Queue()
        entering = asyncio.ensure_future(
            enter(
                invite,
                node.config,
                node.inside.identity_key,
                node.inside.parts,
                node.redeeming.membership,
                node=node,
                timeout=timeout,
                say=steps.put_nowait,
            )
        )
        try:
            while not entering.done() or not steps.empty():
                step = asyncio.ensure_future(steps.get())
                await asyncio.wait({step, entering}, return_when=asyncio.FIRST_COMPLETED)
                if step.done():
                    yield {"event": "step", "text": step.result()}
                else:
                    step.cancel()
        finally:
            if not entering.done():
                entering.cancel()
                await asyncio.wait({entering})
        yield {"event": "done", **to_json(await entering)}


def invite_document(invite: Invite, page: str | None) -> Document:
    """What an invite says, and all its forms. Whoever reads it can redeem it."""
    return {
        **said_document(invite),
        "uri": to_uri(invite.raw),
        "link": None if page is None else to_link(invite.raw, page),
        "code": to_code(invite.raw),
        "lines": to_text(invite.raw),
    }


def said_document(invite: Invite) -> Document:
    """What an invite says, without what lets one in."""
    return {
        "id": invite.id,
        "network": invite.network,
        "private": invite.key is not None,
        "lan_only": invite.lan_only,
        "inviter": invite.inviter.text,
        "uses": invite.uses,
        "issued_at": invite.issued,
        "expires_at": invite.expires,
        "addresses": to_json(invite.addresses),
        "homes": to_json(invite.homes),
        "bytes": len(invite.raw),
    }


def entry_document(entry: Entry, now: float) -> Document:
    """An invite and what became of it."""
    invite = entry.invite
    return {
        "id": invite.id,
        "state": entry.state(now),
        "network": invite.network,
        "private": invite.key is not None,
        "uses": invite.uses,
        "used": len(entry.redeemed),
        "issued_at": invite.issued,
        "expires_at": invite.expires,
        "revoked_at": entry.revoked,
        "redeemed_by": [{"peer": peer.text, "at": at} for peer, at in entry.redeemed],
    }
