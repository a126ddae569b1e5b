"""The commands about an app's own records: `put` and `get`.

Decides where a value comes from and goes to; values are bytes, and cross untouched. Refuses to know who keeps them.
"""

from __future__ import annotations

import base64
import sys
from json import loads
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from node.adapters.http import ApiFailure
from node.cli_exit import failed, warn_of_crowd
from node.cli_options import Json, NodeCommand
from node.cli_peers import SENTENCES, ask, known_peer

Document = dict[str, Any]

MAX_VALUE: Final = 1 << 16
"""Bytes read of a value; a record holds under a thousand, and the node says exactly how many fit."""

MAX_MANY: Final = 1 << 18
"""Bytes read of a file of records: what the local API takes in one call."""

MANY_COLUMNS: Final = {"place": "place", "seq": "seq", "stored": "stored by", "of": "of", "why not": "why not"}

VERDICTS: Final = {"none": "stored", "timeout": "no answer"}
"""Verdicts whose name says too little to people."""

VERDICT_COLUMNS: Final = {"contact": "node", "refusal": "verdict", "seq": "holds seq"}

Salt = Annotated[str | None, typer.Option("--salt", "-s", help="Name of the record under its owner's key.")]
Topic = Annotated[str | None, typer.Option("--topic", help="Announce under a topic, beside others' announcements.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("put", cls=NodeCommand)(put)
    app.command("get", cls=NodeCommand)(get)


def put(
    ctx: typer.Context,
    value: Annotated[str | None, typer.Argument(help="The value; '-' or nothing reads standard input.")] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Take the value from this file.")] = None,
    salt: Salt = None,
    topic: Topic = None,
    expected_seq: Annotated[
        int | None, typer.Option("--expected-seq", min=0, help="Store only if this is the current sequence number.")
    ] = None,
    many: Annotated[
        Path | None, typer.Option("--many", help="Store many in one go: a JSON object a line, '-' for standard input.")
    ] = None,
    receipt: Annotated[bool, typer.Option("--receipt", help="Show what every node asked said.")] = False,
    json: Json = False,
) -> None:
    """Store a value in the DHT: under your key and a salt, under a topic, or under its own hash."""
    from node import cli_render as render

    if many is not None:
        if (value, file, salt, topic, expected_seq) != (None,) * 5:
            raise ApiFailure("bad-input", "--many takes values, salts and topics from its file, and nothing else")
        put_many(ctx, many, every=receipt, json=json)
        return
    params: Document = {"value_base64": encoded(read_value(value, file))}
    if salt is not None:
        params["salt_base64"] = encoded(salt.encode())
    if topic is not None:
        params["topic"] = topic
    if expected_seq is not None:
        params["expected_seq"] = expected_seq
    document = ask(ctx, "put", params)
    if json:
        render.emit(document)
    else:
        show_receipt(document, every=receipt)
    warn_of_crowd(document)
    if not document["ok"]:
        refused = ", ".join(f"{count} {reason}" for reason, count in document["reasons"].items())
        stored = f"{document['stored']} nodes stored it, {document['needed']} are needed"
        failed("not-stored", f"{stored} ({refused or 'nobody was there to ask'})")


def put_many(ctx: typer.Context, source: Path, *, every: bool, json: bool) -> None:
    """Store what stands in a file, and show what became of each."""
    from node import cli_render as render

    document = ask(ctx, "put-many", {"records": read_records(source)})
    receipts = document["receipts"]
    if json:
        render.emit(document)
    elif every:
        for one in receipts:
            show_receipt(one, every=True)
    else:
        rows = [{**one, "of": len(one["verdicts"]), "why not": ", ".join(one["reasons"])} for one in receipts]
        render.table(rows, MANY_COLUMNS, empty="nothing was stored")
    failures = sum(not one["ok"] for one in receipts)
    if failures:
        failed("not-stored", f"{failures} of {len(receipts)} records were not stored by enough nodes")


def read_records(source: Path) -> list[Document]:
    """The records that a file of JSON lines names: `value` or `value_base64`, and `salt` or `topic` where there is one.

    Raises `ApiFailure` naming the line that is none.
    """
    records: list[Document] = []
    for number, line in enumerate(read_value(None, None if str(source) == "-" else source, MAX_MANY).splitlines(), 1):
        if not line.strip():
            continue
        try:
            said = loads(line)
        except ValueError as error:
            raise ApiFailure("bad-input", f"{source}, line {number}: {error}") from None
        if not isinstance(said, dict) or not all(isinstance(field, str) for field in said.values()):
            raise ApiFailure("bad-input", f"{source}, line {number}: expected a JSON object of strings")
        for plain in ("value", "salt"):
            if plain in said:
                said[f"{plain}_base64"] = encoded(said.pop(plain).encode(errors="surrogatepass"))
        records.append(said)
    if not records:
        raise ApiFailure("bad-input", f"{source} has no records: a JSON object a line is expected")
    return records


def get(
    ctx: typer.Context,
    owner: Annotated[str | None, typer.Argument(metavar="[PEER]", help="Whose record; yours if not given.")] = None,
    salt: Salt = None,
    place: Annotated[str | None, typer.Option("--place", help="Place of a value, as `put` printed it.")] = None,
    topic: Topic = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the value into this file.")] = None,
    json: Json = False,
) -> None:
    """Read a value from the DHT, verified, and write it out byte for byte."""
    from node import cli_render as render

    params: Document = {}
    if owner is not None:
        params["owner"] = known_peer(ctx, owner)
    if salt is not None:
        params["salt_base64"] = encoded(salt.encode())
    if place is not None:
        params["place"] = place
    if topic is not None:
        params["topic"] = topic
    if (salt is not None) + (place is not None) + (topic is not None) != 1:
        raise ApiFailure("bad-input", "say which record: --salt (of PEER, or yours), --place, or --topic")
    document = ask(ctx, "get", params)
    if json:
        render.emit(document)
    warn_of_crowd(document)
    if not document["found"]:
        reason = document["reason"]
        why = SENTENCES[reason].format(peer=owner or "you") if reason in SENTENCES else reason
        failed("not-found", f"the record was not found: {why or 'no node that was asked has it'}")
    values = [base64.b64decode(record["value_base64"]) for record in document["records"]]
    if output is not None:
        write_value(output, values)
    elif not json:
        show_values(document["records"], values, many=topic is not None)


def read_value(value: str | None, file: Path | None, most: int = MAX_VALUE) -> bytes:
    """The value from where the user said it is. Raises `ApiFailure` for a file that cannot be read or is too long."""
    if value is not None and value != "-":
        if file is not None:
            raise ApiFailure("bad-input", "give the value or --file, not both")
        return value.encode(errors="surrogateescape")
    try:
        if file is not None:
            with file.open("rb") as source:
                content = source.read(most + 1)
        else:
            content = sys.stdin.buffer.read(most + 1)
    except OSError as error:
        raise ApiFailure("unreadable-file", f"{file or 'standard input'} cannot be read: {error.strerror}") from None
    if len(content) > most:
        raise ApiFailure(
            "too-large", f"that is longer than {most} bytes: records hold under 1,000", "use `rookery send`"
        )
    return content


def write_value(path: Path, values: list[bytes]) -> None:
    """Write the values into a file, one after the other."""
    try:
        path.write_bytes(b"\n".join(values))
    except OSError as error:
        raise ApiFailure("unwritable-file", f"{path} cannot be written: {error.strerror}") from None


def show_values(records: list[Document], values: list[bytes], *, many: bool) -> None:
    """Write the bytes as they are; a terminal gets no bytes that could steer it."""
    from node import cli_render as render

    if many:
        rows = [
            {
                "name": record.get("owner_name"),
                "owner": record.get("owner"),
                "seq": record.get("seq"),
                "value": shown(value),
            }
            for record, value in zip(records, values, strict=True)
        ]
        render.table(
            rows, {"name": "name", "owner": "owner", "seq": "seq", "value": "value"}, empty="nobody announced anything"
        )
    elif sys.stdout.isatty():
        print(shown(values[0]))
    else:
        sys.stdout.buffer.write(values[0])
        sys.stdout.buffer.flush()


def shown(value: bytes) -> str:
    """A value on a terminal: its text, or hexadecimal when it is none."""
    try:
        written = value.decode()
    except UnicodeDecodeError:
        return value.hex()
    return written if all(char.isprintable() or char in "\n\t" for char in written) else value.hex()


def show_receipt(document: Document, *, every: bool) -> None:
    """A receipt for people: where, how many, and why not more."""
    from node import cli_render as render

    summary = {
        "place": document["place"],
        "seq": document["seq"],
        "stored by": f"{document['stored']} of {len(document['verdicts'])} nodes ({document['needed']} needed)",
        "in each": ", ".join(
            f"{one['family']} {one['stored']} of {len(one['verdicts'])} ({one['needed']} needed)"
            for one in document["families"]
        )
        or None,
        "outcome": "stored" if document["ok"] else "not stored by enough nodes",
        "refused": document["reasons"],
    }
    render.fields({name: value for name, value in summary.items() if value not in (None, {})})
    if every:
        render.screen().print()
        rows = [{**each, "refusal": VERDICTS.get(each["refusal"], each["refusal"])} for each in document["verdicts"]]
        render.table(rows, VERDICT_COLUMNS, empty="no node was asked")


def encoded(value: bytes) -> str:
    """Base64, as the local API takes bytes."""
    return base64.b64encode(value).decode()
