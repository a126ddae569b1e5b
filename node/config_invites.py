"""Settings of invites.

Decides names, defaults and bounds. Refuses to know where values come from: `node/config.py` does.
"""

from __future__ import annotations

from node.config_values import Settings, setting


class InviteSettings(Settings):
    """How this node invites."""

    invite_page: str | None = setting(
        None,
        "A page that opens invites: links to it hold the invite behind a #, which no server is told.",
        allowed="an https:// address (http:// on loopback), such as https://example.org/join",
        source="none: invites are rookery: links, which need no page",
        pattern=r"^(https://[^\s#]+|http://(127\.0\.0\.1|localhost|\[::1\])(:\d+)?(/[^\s#]*)?)$",
    )
