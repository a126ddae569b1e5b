"""The frozen vectors are what today's code makes; the documents name what the code has."""

import json
import re
import runpy
from pathlib import Path

import pytest

from dht.constants import MAX_MESSAGE
from dht.records import Refusal
from dht.wire import AnyMessage, Message, PutMany, StoredMany, Value, decode_message, encode_message

ROOT = Path(__file__).resolve().parents[2]
VECTORS = ROOT / "tests" / "vectors"
MADE = runpy.run_path(str(VECTORS / "make_vectors.py"))
LARGEST: list[Message] = runpy.run_path(str(Path(__file__).with_name("test_wire.py")))["LARGEST"]
PROTOCOL = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(MADE["build"]()))
def test_code_makes_the_frozen_bytes(name: str) -> None:
    frozen = json.loads((VECTORS / name).read_text(encoding="utf-8"))
    assert MADE["build"]()[name] == frozen, (
        f"{name} differs from what the code makes: nodes of the last release would not understand this one"
    )


def test_every_message_is_frozen() -> None:
    frozen = {type(message) for message in MADE["messages"]().values()}
    assert frozen == set(AnyMessage.__args__)


def test_every_refusal_that_travels_is_frozen_in_each_answer_that_may_bear_it() -> None:
    bearing = {name for name, message in MADE["messages"]().items() if "status" in type(message).__struct_fields__}
    frozen = json.loads((VECTORS / "wire.json").read_text(encoding="utf-8"))["refusals"]
    assert set(frozen) == bearing
    said = {name for each in frozen.values() for name in each}
    assert said == {refusal.name for refusal in Refusal} - {"TIMEOUT"}
    for each in frozen.values():
        for name, raw in each.items():
            message = decode_message(bytes.fromhex(raw))
            assert message.status == Refusal[name]  # type: ignore[union-attr]
            assert encode_message(message).hex() == raw


@pytest.mark.parametrize("name, message", MADE["messages"]().items())
def test_protocol_lists_every_message_with_number_and_fields(name: str, message: object) -> None:
    number = type(message).__struct_config__.tag  # type: ignore[attr-defined]
    row = next((line for line in PROTOCOL.splitlines() if line.startswith(f"| {number} | {name} |")), None)
    assert row is not None, f"docs/protocol.md has no row '| {number} | {name} | …'"
    own = [field for field in type(message).__struct_fields__ if field not in {"rid", "token", "server"}]  # type: ignore[attr-defined]
    assert [field for field in own if f"`{field}`" not in row] == []


@pytest.mark.parametrize("message", LARGEST, ids=lambda message: type(message).__name__)
def test_protocol_says_how_large_a_message_may_be(message: Message) -> None:
    row = next(line for line in PROTOCOL.splitlines() if line.startswith(f"| {type(message).__struct_config__.tag} |"))
    size = MAX_MESSAGE if isinstance(message, Value | PutMany | StoredMany) else len(encode_message(message))
    assert f"{size:,}" in row.split("|")[4]


@pytest.mark.parametrize("refusal", list(Refusal))
def test_protocol_lists_every_refusal(refusal: Refusal) -> None:
    assert f"| {refusal.value} | {refusal.name} |" in PROTOCOL


def test_the_threat_model_names_tests_that_exist() -> None:
    text = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(tests/[a-z0-9_/]+\.py)", text))
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []
