"""The health page for people: one small HTML document with nothing from elsewhere.

This file refuses to know where the facts come from; whatever it is given is escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from string import Template
from typing import Final

_PAGE: Final = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="refresh" content="30"><title>$status · Rookery bootstrap</title>
<style>
:root { color-scheme: light dark; --ok: #1a7f37; --bad: #b35900; }
@media (prefers-color-scheme: dark) { :root { --ok: #4ac26b; --bad: #f0a04b; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } .ok { color: var(--ok); } .degraded { color: var(--bad); }
table { border-collapse: collapse; width: 100%; } th { text-align: left; font-weight: 500; opacity: .7; }
th, td { padding: .35rem .5rem .35rem 0; border-bottom: 1px solid #8884; overflow-wrap: anywhere; }
</style></head><body>
<h1>Rookery bootstrap: <span class="$kind">$status</span></h1>
$reasons<table>$rows</table>
<p><a href="/bootstrap.json">Signed first-contact list</a> · <a href="/health">Health as JSON</a></p>
</body></html>
""")


def health_page(ok: bool, reasons: Sequence[str], facts: Sequence[tuple[str, str]]) -> str:
    """Return the page. `facts` are rows of name and value, in their order."""
    listed = "".join(f"<li>{escape(reason)}</li>" for reason in reasons)
    return _PAGE.substitute(
        status="ok" if ok else "degraded",
        kind="ok" if ok else "degraded",
        reasons=f"<ul>{listed}</ul>" if listed else "",
        rows="".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in facts),
    )
