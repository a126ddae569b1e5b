"""Holds the tree to its layers: a file imports only files of a lower layer.

Decides which file lies where, what protocol code may not touch, how long a file may be and what it may not
be called. Refuses to run any of the code: it reads the sources only, so files that fail to import are held too.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CODE_FOLDERS = ("bootstrap", "dht", "node", "simulations")

LAYERS: dict[str, float] = {
    "dht/constants.py": 0,
    "dht/errors.py": 0,
    "dht/config.py": 1,
    "dht/identity.py": 1,
    "dht/contact.py": 2,
    "dht/records.py": 2,
    "dht/nat_report.py": 1,
    "dht/limits.py": 3,
    "dht/size.py": 3,
    "dht/crowd.py": 3,
    "dht/stun.py": 3,
    "dht/wire.py": 3,
    "dht/events.py": 3,
    "dht/forwarding.py": 4,
    "dht/routing.py": 4,
    "dht/lookup.py": 4,
    "dht/requests.py": 4,
    "dht/sealing.py": 4,
    "dht/store.py": 4,
    "dht/reachability.py": 4,
    "dht/family.py": 4.2,
    "dht/operation.py": 4.5,  # What all operations have in common: a look-up and its requests, tied together.
    "dht/keeping.py": 4.7,
    "dht/meeting.py": 5,
    "dht/walks.py": 5,
    "dht/subscriptions.py": 4,
    "dht/notices.py": 5.5,
    "dht/watching.py": 5.5,
    "dht/exchange.py": 5.3,
    "dht/responder.py": 5,
    "dht/publish.py": 5,
    "dht/repair.py": 5.2,
    "dht/maintenance.py": 5.25,
    "dht/dialback.py": 5.5,
    "dht/inbox.py": 5.7,
    "dht/outlook.py": 5.7,
    "dht/crawl.py": 5,
    "dht/families.py": 5.8,
    "dht/known.py": 5.9,
    "dht/dispatch.py": 5.9,
    "dht/engine.py": 6,
    "node/ports.py": 7,
    "node/storage.py": 7,
    "node/driver.py": 8,
    "node/config.py": 8,
    "node/node.py": 10,
    "node/node_lan.py": 10,
    "node/node_presence.py": 10,
    "node/api.py": 11,
    "node/cli.py": 12,
    "node/demo.py": 13,
    # The format of the signed list is protocol. What fetches and keeps it is an adapter, which a node may use;
    # what serves and signs it runs a node.
    "bootstrap/refusals.py": 3,
    "bootstrap/trust.py": 4,
    "bootstrap/contacts.py": 5,
    "bootstrap/firstcontacts.py": 7,
    "bootstrap/drafts.py": 8,
    "bootstrap/store.py": 8,
    "bootstrap/carriers.py": 9,
    "bootstrap/keys.py": 9,
    "bootstrap/sources.py": 9.5,
    "bootstrap/page.py": 10,
    "bootstrap/operations.py": 10,
    "bootstrap/server.py": 11,
    "bootstrap/cli.py": 11.5,
    # Simulations look down on all of it; nothing that is simulated may know of them.
    "simulations/errors.py": 20,
    "simulations/hops.py": 20,
    "simulations/randomness.py": 20,
    "simulations/events.py": 21,
    "simulations/faults.py": 21,
    "simulations/durations.py": 21,
    "simulations/diurnal.py": 21,
    "simulations/sessions.py": 22,
    "simulations/bandwidth.py": 23.5,
    "simulations/weather.py": 23,
    "simulations/seal.py": 21,
    "simulations/latency.py": 21,
    "simulations/places.py": 21.5,
    "simulations/latency_fits.py": 22,
    "simulations/latency_kernel.py": 22,
    "simulations/latency_fitted.py": 22.3,
    "simulations/matrix.py": 22.3,
    "simulations/latency_models.py": 22.6,
    "simulations/trace.py": 21,
    "simulations/network.py": 22,
    "simulations/nat.py": 23,
    "simulations/datagram.py": 23,
    "simulations/engines.py": 23,
    "simulations/loop.py": 24,
    "simulations/foreign.py": 25,
    "simulations/cluster.py": 25,
    "simulations/clocks.py": 24,
    "simulations/profiles.py": 24,
    "simulations/settings.py": 24,
    "simulations/tables.py": 24,
    "simulations/metrics.py": 25,
    "simulations/peers.py": 25,
    "simulations/conditions.py": 26,
    "simulations/ground.py": 26,
    "simulations/lives.py": 27,
    "simulations/sampling.py": 27,
    "simulations/workload.py": 27,
    "simulations/link_punch.py": 24,  # This one to `links.py`: what full nodes have in place of WebRTC.
    "simulations/link_stun.py": 24.5,
    "simulations/link_words.py": 24,
    "simulations/links.py": 25,
    "simulations/world.py": 28,
    "simulations/shell.py": 28.5,
    "simulations/gossip.py": 28.5,
    "simulations/scenario.py": 29,
    "simulations/observations.py": 29,
    "simulations/modelled.py": 29,
    # Who and what a scenario adds to a world: attackers, strangers, processors, meters.
    "simulations/seats.py": 23,
    "simulations/cpu.py": 23,
    "simulations/punching.py": 23,
    "simulations/attackers.py": 28.5,
    "simulations/strangers.py": 28.5,
    "simulations/traffic.py": 28.5,
    "simulations/awake.py": 28.7,
    # How scenarios are started: written down, played, many at once.
    "simulations/memory.py": 20,
    "simulations/written.py": 25,
    "simulations/steps.py": 29.5,
    "simulations/scripts.py": 31,
    "simulations/specfile_lines.py": 31,
    "simulations/specfile_faults.py": 31.5,
    "simulations/specfile.py": 33,
    "simulations/running.py": 32,
    "simulations/board.py": 33,
    "simulations/executors.py": 34,
    "simulations/progress.py": 34,
    "simulations/replay.py": 34,
    "simulations/sweeps.py": 35,
    "simulations/cli.py": 36,
    "simulations/__main__.py": 37,
    # What becomes of runs: files, figures with intervals, then pictures and pages of them.
    "simulations/statistics.py": 30,
    "simulations/results.py": 30.2,
    "simulations/plots.py": 30.4,
    "simulations/comparison.py": 30.4,
    "simulations/report.py": 31,
    # Both engines and the papers laid side by side, which plays runs.
    "simulations/agreement.py": 37,
}
"""The layer of each file. `routing_buckets.py`, split off `routing.py`, has that one's layer without an entry."""

FOLDER_LAYERS: dict[str, float] = {
    "simulations/model/": 24,
    "simulations/scenarios/": 30,
    "node/protocols/": 7,
    "node/adapters/": 9,
    "node/conformance/": 9.5,
}
"""The layer of every file of a folder in which files are many and alike."""

SAME_LAYER: dict[str, tuple[str, ...]] = {
    # One engine, whose files have an order of their own.
    "simulations/model/": ("simulations/model/",),
    # Checks use one another's questions.
    "node/conformance/": ("node/conformance/",),
    # Protocols are written against the ports. A membership may be revoked; both are shown at the door, or to a member.
    "node/protocols/": ("node/ports.py",),
    "node/protocols/membership.py": ("node/protocols/revocation.py",),
    "node/protocols/admission.py": ("node/protocols/membership.py", "node/protocols/revocation.py"),
    "node/protocols/renewal.py": ("node/protocols/admission.py", "node/protocols/revocation.py"),
    "node/adapters/network_store.py": ("node/adapters/keyfile.py",),
    # A relay judges what the ends of circuits ask.
    "node/protocols/relaying.py": ("node/protocols/circuit.py",),
    # A card says what a peer record says of ways and text, by its rules.
    "node/protocols/presence.py": ("node/protocols/peer_record.py", "node/protocols/liveness.py"),
    # Its control messages are frames that the streams skip.
    "node/protocols/continuity.py": ("node/protocols/streams.py",),
    # A link and its streams know each other; the carriers below them are adapters too.
    "node/adapters/stream_link.py": ("node/adapters/link_stream.py",),
    "node/adapters/link_stream.py": ("node/adapters/stream_link.py",),
    "node/adapters/memory_link.py": ("node/adapters/stream_link.py",),
    "node/adapters/webrtc.py": ("node/adapters/stream_link.py",),
    # A dial without an answer: WebRTC's layers brought up another way, a kept certificate, a proof inside.
    "node/adapters/websocket.py": ("node/adapters/proving.py",),
    "node/adapters/answerless.py": (
        "node/adapters/certificate.py",
        "node/adapters/proving.py",
        "node/adapters/webrtc.py",
    ),
    "node/adapters/certificate.py": ("node/adapters/keyfile.py",),
    # What the kernel can join is the same on every port.
    "node/adapters/udp.py": ("node/adapters/webrtc.py",),
}
"""Imports within one layer that are meant: importer (a file, or a folder with its slash) → what it may import.

Needs no entry: files of one concern (`webrtc.py`, `webrtc_ice.py`) may import one another.
"""

PURE = ("dht/", "node/protocols/")
"""No input or output, no clock, no tasks, no global randomness: `now` and `rng` are arguments there."""

# fmt: off
IMPURE_MODULES = frozenset({
    "asyncio", "concurrent", "http", "logging", "multiprocessing", "os", "pathlib", "secrets",
    "select", "selectors", "shutil", "signal", "socket", "socketserver", "sqlite3", "ssl",
    "subprocess", "sys", "tempfile", "threading", "time", "trio", "uuid",
})
# fmt: on
IMPURE_BUILTINS = frozenset({"breakpoint", "input", "open", "print"})
IMPURE_CALLS = frozenset({"datetime.now", "datetime.utcnow", "datetime.today", "date.today"})
FORBIDDEN_STEMS = frozenset({"common", "helper", "helpers", "manager", "managers", "misc", "util", "utils"})
LONGEST_FILE = 400


def sources(*folders: str) -> list[str]:
    """Every Python file below the folders, as a path from the root with slashes."""
    return sorted(
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        if "__pycache__" not in path.parts
    )


CODE = sources(*CODE_FOLDERS)


def family(file: str) -> str:
    """The file that this one was split off, or else itself: `wire_pack.py` → `wire.py`, `link_x.py` → `links.py`."""
    folder, _, name = file.rpartition("/")
    if file in LAYERS:
        return file
    stem = name.removesuffix(".py").rpartition("_")[0]
    while stem:
        for parent in (f"{folder}/{stem}.py", f"{folder}/{stem}s.py"):
            if parent in LAYERS or (ROOT / parent).is_file():
                return parent
        stem = stem.rpartition("_")[0]
    return file


def layer(file: str) -> float | None:
    """The layer of a file, or None when nobody has given it one.

    A folder's `__init__.py` lies just above all of the folder: it may offer its files' names to the layers above,
    but no file of the folder may import it.
    """
    folder, _, name = file.rpartition("/")
    if name == "__init__.py":
        within = [
            below
            for other in CODE
            if other.startswith(f"{folder}/") and not other.endswith("__init__.py")
            if (below := layer(other)) is not None
        ]
        return max(within, default=0) + 0.5
    if (known := LAYERS.get(family(file))) is not None:
        return known
    return next((number for prefix, number in FOLDER_LAYERS.items() if file.startswith(prefix)), None)


def file_of(module: str) -> str | None:
    """The project's file that holds a dotted module name, or None for everything that is not ours."""
    path = module.replace(".", "/")
    if path.split("/")[0] not in CODE_FOLDERS:
        return None
    return next((f for f in (f"{path}.py", f"{path}/__init__.py") if (ROOT / f).is_file()), None)


def is_for_types_only(node: ast.AST) -> bool:
    """Whether this is `if TYPE_CHECKING:`, whose imports never happen when the code runs."""
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def imported_names(file: str, *, at_run_time: bool = False) -> Iterator[tuple[str, int]]:
    """Every dotted name a file imports, with the line, nested imports too; `from a.b import c` gives `a.b.c`."""
    package = file.split("/")[:-1]
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"), file)
    unseen = {
        id(inner) for block in ast.walk(tree) if at_run_time and is_for_types_only(block) for inner in ast.walk(block)
    }
    for found in ast.walk(tree):
        if id(found) in unseen:
            continue
        if isinstance(found, ast.Import):
            yield from ((alias.name, found.lineno) for alias in found.names)
        elif isinstance(found, ast.ImportFrom):
            base = package[: len(package) - found.level + 1] if found.level else []
            head = ".".join([*base, *([found.module] if found.module else [])])
            yield from ((f"{head}.{alias.name}", found.lineno) for alias in found.names)


def imported_files(file: str, *, at_run_time: bool = False) -> Iterator[tuple[str, int]]:
    """The project's files that a file imports, with the line: the module named, else the one that holds the name."""
    for name, line in imported_names(file, at_run_time=at_run_time):
        target = file_of(name) or file_of(name.rpartition(".")[0])
        if target is not None and target != file:
            yield target, line


def first_word(file: str) -> str:
    """What the files of one concern share: `node/adapters/webrtc` of `node/adapters/webrtc_ice.py`."""
    folder, _, name = file.rpartition("/")
    return f"{folder}/{name.removesuffix('.py').partition('_')[0].removesuffix('s')}"


def covers(entry: str, file: str) -> bool:
    """Whether an entry of SAME_LAYER speaks of a file."""
    return file.startswith(entry) if entry.endswith("/") else family(file) == entry


def allowed_in_layer(importer: str, imported: str) -> bool:
    """Whether one file may import another of its own layer."""
    if first_word(importer) == first_word(imported):
        return True
    return any(
        covers(entry, importer) and any(covers(target, imported) for target in targets)
        for entry, targets in SAME_LAYER.items()
    )


@pytest.mark.parametrize("file", CODE)
def test_every_file_has_a_layer(file: str) -> None:
    assert layer(file) is not None, (
        f"{file} has no layer: give it one in LAYERS of tests/test_layers.py, above that of every file it imports"
    )


@pytest.mark.parametrize("file", CODE)
def test_a_file_imports_only_lower_layers(file: str) -> None:
    own = layer(file)
    assert own is not None, f"{file} has no layer"
    wrong = []
    for imported, line in imported_files(file):
        other = layer(imported)
        if other is None or other > own or (other == own and not allowed_in_layer(file, imported)):
            wrong.append(f"{file}:{line} (layer {own}) imports {imported} (layer {other})")
    assert not wrong, "\n".join(wrong)


def test_no_files_import_each_other_in_a_circle() -> None:
    graph = {file: {imported for imported, _ in imported_files(file, at_run_time=True)} for file in CODE}
    # Whoever imports nothing that is left, or is imported by nobody left, lies on no circle.
    while loose := [
        file
        for file, imports in graph.items()
        if not imports & graph.keys() or not any(file in others for others in graph.values())
    ]:
        for file in loose:
            del graph[file]
    circle = {file: sorted(imports & graph.keys()) for file, imports in graph.items()}
    assert not circle, f"these import each other in a circle: {circle}"


@pytest.mark.parametrize("file", [file for file in CODE if file.startswith(PURE)])
def test_protocol_code_touches_nothing_but_its_arguments(file: str) -> None:
    wrong = [
        f"{file}:{line} imports {name}: take what it gives as an argument"
        for name, line in imported_names(file)
        if name.split(".")[0] in IMPURE_MODULES or (name.startswith("random.") and name != "random.Random")
    ]
    for found in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"), file)):
        if isinstance(found, ast.Call) and isinstance(found.func, ast.Name) and found.func.id in IMPURE_BUILTINS:
            wrong.append(f"{file}:{found.lineno} calls {found.func.id}(): return it, or report an event")
        if not isinstance(found, ast.Attribute):
            continue
        text = ast.unparse(found)
        if text.startswith("random.") and text != "random.Random":
            wrong.append(f"{file}:{found.lineno} uses {text}: the global generator; take a random.Random")
        if any(text == call or text.endswith(f".{call}") for call in IMPURE_CALLS):
            wrong.append(f"{file}:{found.lineno} uses {text}: a clock; take `now`")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("file", sources(*CODE_FOLDERS, "tests"))
def test_files_are_short_and_named_for_what_they_do(file: str) -> None:
    length = len((ROOT / file).read_text(encoding="utf-8").splitlines())
    assert length <= LONGEST_FILE, f"{file} has {length} lines: split it (at most {LONGEST_FILE})"
    stem = file.rpartition("/")[2].removesuffix(".py").removeprefix("test_")
    assert stem not in FORBIDDEN_STEMS, f"{file}: '{stem}' says nothing; name it for what it decides"


def test_the_rules_see_code_at_all() -> None:
    assert {file.split("/")[0] for file in CODE} == set(CODE_FOLDERS)
    names = [name for name, _ in imported_names("tests/test_layers.py")]
    assert names == ["ast", "collections.abc.Iterator", "pathlib.Path", "pytest"]
