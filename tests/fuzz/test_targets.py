"""Every decoder of a stranger's bytes gives a value or a typed refusal: by mutation, and led by coverage."""

import ast
import platform
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from tests.fuzz.targets import TARGETS
from tests.fuzz.test_decoders import mutate

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 4
"""That each decoder is fuzzed by coverage. UNSOURCED: what it reaches at all it mostly reaches in the first second."""

ELSEWHERE = {
    "read_key": "of node.protocols.circuit, called by decode_circuit_message",
    "unpack_contact": "of dht.contact, called by unpack_contacts",
}
"""Decoders that are reached by way of others. Those of `lan_beacon` have keys: `test_lan_fuzz.py`."""


@pytest.mark.parametrize("name", TARGETS)
def test_any_mutant_is_taken_or_refused(name: str) -> None:
    target, rng = TARGETS[name], Random(3)
    seeds = target.seeds()
    for seed in seeds:
        target.run(seed)
    for _ in range(500):
        target.run(mutate(rng.choice(seeds), rng, seeds))
        target.run(rng.randbytes(rng.randrange(64)))


@pytest.mark.parametrize("name", [name for name, target in TARGETS.items() if target.vectors])
def test_what_is_frozen_gets_past_the_first_checks(name: str) -> None:
    target = TARGETS[name]
    assert any(target.run(seed) for seed in target.seeds())


def test_no_decoder_is_left_out() -> None:
    fuzzed = set(ELSEWHERE)
    for target in TARGETS.values():
        fuzzed |= {getattr(target.decode, "__name__", ""), *target.covers}
    for path in sorted((*(ROOT / "dht").glob("*.py"), *(ROOT / "node" / "protocols").glob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith(("decode", "unpack_", "read_", "unseal")):
                takes = [ast.unparse(argument.annotation or ast.Constant("")) for argument in node.args.args[:1]]
                assert takes != ["bytes"] or node.name in fuzzed, f"{path.name}: {node.name} is fuzzed by nothing"


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64" or sys.version_info >= (3, 14),
    reason="not on this platform: atheris has wheels for Linux on x86-64 only, below Python 3.14",
)
@pytest.mark.parametrize("name", TARGETS)
def test_led_by_coverage_nothing_but_a_typed_refusal_is_raised(name: str, tmp_path: Path) -> None:
    for number, seed in enumerate(TARGETS[name].seeds()):
        (tmp_path / f"{number:04}").write_bytes(seed)
    command = [sys.executable, "-m", "tests.fuzz.coverage_guided", name, str(SECONDS), str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=90)
    broke = [path.read_bytes().hex() for path in tmp_path.glob("crash-*")]
    assert run.returncode == 0, f"{run.stderr[-2000:]}\n{broke}"
    assert "Done" in run.stderr
