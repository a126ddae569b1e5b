from __future__ import annotations

import json
import os
import stat
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from bootstrap import operations
from bootstrap.firstcontacts import decode_file
from bootstrap.keys import load_key
from bootstrap.refusals import Refusal
from bootstrap.trust import TrustRoot
from dht.errors import LocalError
from dht.identity import NodeKey, to_zbase32
from node.cli import app

NOW = 1_800_000_000.0
NODE = to_zbase32(NodeKey.from_secret(b"\x21" * 32).public)
CONTACT = f'[[contact]]\nkey = "{NODE}"\naddress = ["192.0.2.1:7700", "Node.Example.org:7700"]\nlabel = "one"\n'


def table(name, keys, threshold=2):
    return f"[{name}]\nsigners = {[key.text for key in keys]}\nthreshold = {threshold}\n"


@pytest.fixture
def office(tmp_path):
    """Six key files, a draft that trusts 2 of the first 3, and where its list goes."""
    keys = [tmp_path / f"{number}.key" for number in range(6)]
    public = [operations.keygen(path) for path in keys]
    draft = tmp_path / "draft.toml"
    draft.write_text('network = "testnet"\n' + table("trust", public[:3]) + CONTACT)
    root = TrustRoot(frozenset(public[:3]), 2)
    return SimpleNamespace(
        dir=tmp_path, keys=keys, public=public, draft=draft, list=tmp_path / "bootstrap.json", root=root
    )


@pytest.fixture
def run():
    def _run(*words):
        result = CliRunner().invoke(app, ["bootstrap", *map(str, words)])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert "Traceback" not in result.output
        return result

    return _run


def accepted(report):
    assert report.verified is not None, report.message
    return report.verified


def sign_by(office, *numbers, now=NOW):
    operations.sign(office.draft, office.keys[numbers[0]], office.list, now)
    for number in numbers[1:]:
        report = operations.sign(office.list, office.keys[number], now=now)
    return report


def test_a_key_file_is_private_and_never_overwritten(office):
    path = office.keys[0]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_bytes()
    with pytest.raises(LocalError, match="never overwritten"):
        operations.keygen(path)
    assert path.read_bytes() == before
    assert load_key(path).public == office.public[0]


def test_bad_key_files_are_named(office):
    path = office.keys[0]
    text = path.read_text()
    os.chmod(path, 0o640)
    with pytest.raises(LocalError, match="chmod 600"):
        load_key(path)
    os.chmod(path, 0o600)
    other = office.keys[1].read_text().split()[4]
    for damaged, says in [
        (text[:30], "not a signer key"),
        ("", "not a signer key"),
        (text[:-2] + "l\n", "damaged"),
        (text.replace(text.split()[4], other), "do not belong together"),
    ]:
        path.write_text(damaged)
        with pytest.raises(LocalError, match=says):
            load_key(path)


def test_two_of_three_sign_and_the_list_is_good(office):
    report = sign_by(office, 0, 2)
    assert not report.created
    assert report.signed_by == {office.public[0], office.public[2]}
    judged = operations.verify_file(office.list, office.root, "testnet", NOW)
    assert judged.accepted
    contact = accepted(judged).content.contacts[0]
    assert (contact.addresses, contact.names) == ((("192.0.2.1", 7700),), (("node.example.org", 7700),))
    assert accepted(judged).content.expires_at == NOW + 30 * 86400


def test_one_signature_or_signing_twice_is_not_enough(office):
    sign_by(office, 0, 0)
    assert len(operations.show(office.list).signatures) == 1
    judged = operations.verify_file(office.list, office.root, now=NOW)
    assert judged.refusal is Refusal.NOT_ENOUGH_SIGNATURES


def test_the_sequence_follows_the_list_that_is_there(office):
    assert operations.sign(office.draft, office.keys[0], office.list, NOW).content.sequence == 1
    assert operations.sign(office.draft, office.keys[0], office.list, NOW).content.sequence == 2
    office.draft.write_text("sequence = 2\n" + office.draft.read_text())
    with pytest.raises(LocalError, match="sequence 2 does not follow 2"):
        operations.sign(office.draft, office.keys[0], office.list, NOW)


def test_rotation_from_draft_to_node(office):
    sign_by(office, 0, 1)
    old, new = office.public[:3], office.public[3:]
    office.draft.write_text('network = "testnet"\n' + table("trust", old) + table("next_trust", new) + CONTACT)
    assert not sign_by(office, 0, 1, 3).rotations[0].complete
    # Until the new signers have joined in, nodes keep to the old ones, who signed this list too.
    assert accepted(operations.verify_file(office.list, office.root, now=NOW)).trust.rotation == 0
    operations.sign(office.list, office.keys[4], now=NOW)
    assert accepted(operations.verify_file(office.list, office.root, now=NOW)).trust.rotation == 1
    # From now on the new set signs alone; the chain stays in the file.
    office.draft.write_text('network = "testnet"\n' + table("trust", new) + CONTACT)
    report = sign_by(office, 3, 5)
    assert report.content.sequence == 3
    judged = operations.verify_file(office.list, office.root, now=NOW)
    assert accepted(judged).trust.root == TrustRoot(frozenset(new), 2)


def test_wrong_clocks_are_noticed_when_signing(office):
    sign_by(office, 0, 1)
    for source in (office.list, office.draft):
        with pytest.raises(LocalError, match=r"24\.0 h ahead of the local clock"):
            operations.sign(source, office.keys[2], office.list, NOW - 86400)
    with pytest.raises(LocalError, match=r"expired at .*: make a new list"):
        operations.sign(office.list, office.keys[2], now=NOW + 31 * 86400)


def test_an_unknown_signer_or_a_foreign_list_is_not_signed(office):
    with pytest.raises(LocalError, match="not among the signers"):
        operations.sign(office.draft, office.keys[5], office.list, NOW)
    assert not office.list.exists()
    sign_by(office, 0, 1)
    before = office.list.read_bytes()
    office.draft.write_text(office.draft.read_text().replace("testnet", "othernet"))
    with pytest.raises(LocalError, match="is the list of network 'testnet'"):
        operations.sign(office.draft, office.keys[0], office.list, NOW)
    assert office.list.read_bytes() == before


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("192.0.2.1:7700", "192.0.2.1", "is not an address"),
        (NODE, "abc", "not a node key"),
        ("threshold = 2", "threshold = 4", "threshold = 4 is not allowed"),
        ("label", "lable", "lable"),
        ("[[contact]]", "[[contact", "not a draft"),
        ('network = "testnet"', "lifetime_days = 400", "would live 400.0 days"),
        ('network = "testnet"', "lifetime_days = -1", "must be more than 0"),
        ('network = "testnet"', "sequence = -1", "sequence -1"),
        ('network = "testnet"', 'network = ""', "network ''"),
        ('label = "one"', 'label = "a\\tb"', "not printable"),
    ],
)
def test_bad_drafts_are_one_clear_line(office, old, new, says):
    text = office.draft.read_text()
    assert old in text
    office.draft.write_text(text.replace(old, new))
    with pytest.raises(LocalError) as caught:
        operations.sign(office.draft, office.keys[0], office.list, NOW)
    assert says in str(caught.value)
    assert str(office.draft) in str(caught.value)
    assert not office.list.exists()


def test_commands_from_key_to_verified_list(office, run):
    key = office.dir / "new.key"
    made = json.loads(run("keygen", key, "--json").stdout)
    assert load_key(key).public.text == made["public"]
    first = run("sign", office.draft, "--key", office.keys[0], "--out", office.list)
    assert first.exit_code == 0
    assert "made and signed" in first.stdout
    assert run("verify", office.list, "--trust", office.draft).exit_code == 1
    second = json.loads(run("sign", office.list, "--key", office.keys[1], "--json").stdout)
    assert len(second["signed_by"]) == 2
    good = run("verify", office.list, "--trust", office.draft, "--network", "testnet")
    assert good.exit_code == 0
    assert good.stdout.startswith("Good: list 1")
    told = ["--signer", office.public[0].text, "--signer", office.public[2].text, "--threshold", 2]
    refused = run("verify", office.list, *told, "--json")
    assert refused.exit_code == 1
    assert json.loads(refused.stdout)["refusal"] == "not-enough-signatures"
    shown = json.loads(run("show", office.list, "--json").stdout)
    assert shown["contacts"][0] == {
        "key": NODE, "addresses": ["192.0.2.1:7700"], "names": ["node.example.org:7700"], "label": "one",
    }  # fmt: skip
    assert "192.0.2.1:7700" in run("show", office.list).stdout


def test_refusals_exit_1_and_bad_input_exits_2(office, run):
    sign_by(office, 0, 1, now=None)
    tampered = office.list.read_bytes().replace(b'"payload": "ey', b'"payload": "eX')
    assert tampered != office.list.read_bytes()
    office.list.write_bytes(tampered)
    result = run("verify", office.list, "--trust", office.draft)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {office.list} is refused (malformed): ")
    assert result.stderr.count("\n") == 1
    os.chmod(office.keys[2], 0o644)
    for words in [
        ("verify", office.dir / "none", "--trust", office.draft),
        ("verify", office.list),
        ("verify", office.list, "--signer", "l" * 52),
        ("verify", office.list, "--signer", office.public[0].text, "--threshold", 2),
        ("show", office.list),
        ("show", office.draft),
        ("show", office.dir),
        ("sign", office.list, "--key", office.keys[0]),
        ("sign", office.draft, "--key", office.keys[2]),
        ("sign", office.draft, "--key", office.draft),
        ("keygen", office.keys[0]),
        ("keygen", office.draft / "key"),
    ]:
        result = run(*words)
        assert result.exit_code == 2, words
        error, *hints = result.stderr.splitlines()
        assert error.startswith("error: "), result.stderr
        assert all(hint.startswith("hint: ") for hint in hints), result.stderr
        as_json = run(*words, "--json")
        assert as_json.exit_code == 2
        assert json.loads(as_json.stdout)["error"]["fault"] == "local"
    assert office.list.read_bytes() == tampered


def test_labels_cannot_write_markup_on_the_terminal(office, run):
    office.draft.write_text(office.draft.read_text().replace('"one"', '"[red]x[/red]"'))
    sign_by(office, 0, 1)
    assert "[red]x[/red]" in run("show", office.list).stdout
    assert decode_file(office.list.read_bytes()).content.contacts[0].label == "[red]x[/red]"
