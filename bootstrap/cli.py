"""`rookery bootstrap keygen | sign | verify | show`: words on a terminal around `bootstrap.operations`.

This file decides texts and that a refused list is a failure (exit code 1). It refuses to know how errors are shown:
they go up to the `rookery` command, of which this is a part.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bootstrap import operations
from bootstrap.contacts import format_endpoint
from bootstrap.firstcontacts import ListFile, moment
from bootstrap.refusals import ListRefused
from bootstrap.trust import TrustRoot
from dht.errors import LocalError

app = typer.Typer(
    name="bootstrap", help="Make, sign and check the signed list of first contacts.", no_args_is_help=True
)

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command()
def keygen(
    path: Annotated[Path, typer.Argument(help="The new key file; it must not exist.")],
    as_json: JsonFlag = False,
) -> None:
    """Make a signer key. Keep the file where no server reads it."""
    public = operations.keygen(path)
    if as_json:
        _print_json({"path": str(path), "public": public.text})
        return
    _say(f"Key written to {path}. Its public half, for the trust root:")
    _say(public.text)


@app.command()
def sign(
    source: Annotated[Path, typer.Argument(help="A draft (TOML), or a list that other signers have signed.")],
    key: Annotated[Path, typer.Option("--key", help="The signer's key file.")],
    output: Annotated[
        Path | None, typer.Option("--out", help="Where the list goes; a list is signed in place by default.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Make a list from a draft, or add a signature to a list."""
    report = operations.sign(source, key, output)
    if as_json:
        _print_json(
            {
                "path": str(report.path),
                "created": report.created,
                "sequence": report.content.sequence,
                "expires_at": report.content.expires_at,
                "signer": report.signer.text,
                "signed_by": sorted(each.text for each in report.signed_by),
                "rotations": [{"number": each.number, "complete": each.complete} for each in report.rotations],
            }
        )
        return
    made = "made and signed" if report.created else "signed"
    _say(f"List {report.content.sequence} {made} by {report.signer.short}…: {report.path}")
    _say(f"Signed by {len(report.signed_by)}, valid until {moment(report.content.expires_at)}.")
    for each in report.rotations:
        _say(f"Rotation {each.number}: {'complete' if each.complete else 'more signatures are needed'}.")


@app.command()
def verify(
    path: Annotated[Path, typer.Argument(help="The list.")],
    trust: Annotated[Path | None, typer.Option("--trust", help="A draft or trust file with a \\[trust] table.")] = None,
    signer: Annotated[list[str] | None, typer.Option("--signer", help="A trusted signer's key; repeat it.")] = None,
    threshold: Annotated[int, typer.Option("--threshold", help="How many of them must have signed.")] = 1,
    network: Annotated[str | None, typer.Option("--network", help="The network that the list must be for.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Check a list as a node would. Exit code 1 when a node would refuse it."""
    if (trust is None) == (not signer):
        raise LocalError("say whom to trust: either --trust FILE, or --signer KEY (repeated) with --threshold N")
    root = operations.trust_of(trust) if trust else TrustRoot.parse(signer or (), threshold)
    report = operations.verify_file(path, root, network)
    if as_json:
        signed = sorted(each.text for each in report.verified.signed_by) if report.verified else []
        _print_json(
            {
                "accepted": report.accepted,
                "refusal": report.refusal,
                "message": report.message,
                "sequence": report.file.content.sequence if report.file else None,
                "expires_at": report.file.content.expires_at if report.file else None,
                "signed_by": signed,
                "threshold": report.verified.trust.root.threshold if report.verified else root.threshold,
            }
        )
    elif report.verified:
        content = report.verified.content
        _say(f"Good: {report.message}, for network {content.network!r}, until {moment(content.expires_at)}.")
        names = ", ".join(sorted(each.short for each in report.verified.signed_by))
        _say(f"Signed by {names} (needed: {report.verified.trust.root.threshold}).")
    elif report.refusal:
        raise ListRefused(report.refusal, f"{path} is refused ({report.refusal}): {report.message}")
    if not report.accepted:
        raise typer.Exit(1)


@app.command()
def show(path: Annotated[Path, typer.Argument(help="The list.")], as_json: JsonFlag = False) -> None:
    """Print what a list says, without judging its signatures."""
    file = operations.show(path)
    if as_json:
        _print_json(_as_json(file))
        return
    content = file.content
    _say(f"List {content.sequence} of network {content.network!r}")
    _say(f"issued {moment(content.issued_at)}, expires {moment(content.expires_at)}")
    table = Table("label", "node key", "addresses")
    for contact in content.contacts:
        places = "\n".join(format_endpoint(each) for each in (*contact.addresses, *contact.names))
        table.add_row(Text(contact.label), Text(contact.key_text, overflow="fold"), Text(places))
    Console().print(table)
    for signature in file.signatures:
        _say(f"signature of {signature.signer.text} (not checked: use verify)")
    for each in file.rotations:
        state = "complete" if each.complete else "incomplete"
        to = f"{each.new.threshold} of {len(each.new.signers)}"
        _say(f"rotation {each.number} to {to} signers: {state}")


def _as_json(file: ListFile) -> dict[str, Any]:
    content = file.content
    return {
        "network": content.network,
        "sequence": content.sequence,
        "issued_at": content.issued_at,
        "expires_at": content.expires_at,
        "contacts": [
            {
                "key": contact.key_text,
                "addresses": [format_endpoint(each) for each in contact.addresses],
                "names": [format_endpoint(each) for each in contact.names],
                "label": contact.label,
            }
            for contact in content.contacts
        ],
        "signers": [each.signer.text for each in file.signatures],
        "rotations": [
            {
                "number": each.number,
                "signers": sorted(signer.text for signer in each.new.signers),
                "threshold": each.new.threshold,
                "complete": each.complete,
            }
            for each in file.rotations
        ],
    }


def _say(line: str) -> None:
    Console(soft_wrap=True, highlight=False).print(Text(line))


def _print_json(value: dict[str, Any]) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))
