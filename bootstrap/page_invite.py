"""The page that opens invites: `https://…/join#INVITE`. What stands behind the # never leaves the browser.

This file decides what the page shows, and that nothing but its own script runs in it. It refuses to know what an invite
holds: the program that is opened checks it.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Final

_SCRIPT: Final = """
const invite = location.hash.slice(1);
const good = /^[A-Za-z0-9_-]{140,900}$/.test(invite);
document.getElementById(good ? "there" : "none").hidden = false;
if (good) {
  const uri = "rookery:join/" + invite;
  document.getElementById("open").href = uri;
  document.getElementById("command").textContent = "rookery join " + uri;
}
"""
"""The one script there is. It writes text and one link whose beginning is fixed, so that no invite can be markup."""

INVITE_PAGE: Final = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="referrer" content="no-referrer"><title>An invite to Rookery</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 36rem; margin: 3rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.4rem; }}
pre {{ white-space: pre-wrap; overflow-wrap: anywhere; border: 1px solid #8884; padding: .8rem; }}
a.open {{ display: inline-block; padding: .6rem 1.2rem; border: 1px solid; border-radius: .4rem; }}
</style></head><body>
<h1>You are invited</h1>
<div id="there" hidden>
<p><a class="open" id="open" href="#">Open in Rookery</a></p>
<p>or, in a terminal:</p><pre id="command"></pre>
<p>Whoever has this link can come in with it. This page, and whoever serves it, is not told of it: browsers keep to
themselves what stands behind the #.</p></div>
<div id="none" hidden><p>There is no invite in this link: it was cut off. Ask for it again, and copy all of it.</p>
</div>
<noscript><p>Copy the whole link from the address bar, and run <code>rookery join</code> with it.</p></noscript>
<script>{_SCRIPT}</script>
</body></html>
"""

INVITE_PAGE_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; "
    f"script-src 'sha256-{base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()}'"
)
"""The page's Content-Security-Policy: this script, by its hash, and no other."""
