"""The scanner names the right line for every key that the parser reads, whatever TOML's spelling."""

import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulations.specfile_lines import Path, key_lines, line_of


def paths_in(value: Any, path: Path = ()) -> list[Path]:
    """Every path of a parsed document, tables and list elements too."""
    children: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        children = list(value.items())
    elif isinstance(value, list):
        children = list(enumerate(value))
    return [inner for key, child in children for inner in ((*path, key), *paths_in(child, (*path, key)))]


CASES = [
    ("plain", "a = 1\nb = 2\n", {("a",): 1, ("b",): 2}),
    ("no newline at the end", "a = 1\nb = 2", {("b",): 2}),
    ("table", "a = 1\n\n[world]\nloss = 0.1\n", {("world",): 3, ("world", "loss"): 4}),
    ("array of tables", "[[s]]\nx=1\n[[s]]\nx=2\n", {("s",): 1, ("s", 0, "x"): 2, ("s", 1): 3, ("s", 1, "x"): 4}),
    ("table below an array", "[[s]]\n[s.t]\nx=1\n[[s]]\n[s.t]\nx=2\n", {("s", 0, "t", "x"): 3, ("s", 1, "t", "x"): 6}),
    ("array below an array", "[[s]]\n[[s.t]]\n[[s.t]]\nx=1\n", {("s", 0, "t", 0): 2, ("s", 0, "t", 1, "x"): 4}),
    ("dotted", "a.b.c = 1\na.b.d = 2\n", {("a",): 1, ("a", "b"): 1, ("a", "b", "d"): 2}),
    ("dotted with space", 'a . "b c" . d = 1\n', {("a", "b c", "d"): 1}),
    ("comment after a value", "a = 1 # = 2\nb = 3 # [x]\n", {("a",): 1, ("b",): 2}),
    ("number sign in a string", "a = \"#\"\nb = '#'\nc = 1", {("c",): 3}),
    ("escaped quote", 'a = "\\""\nb = "\\\\"\nc = 1', {("b",): 2, ("c",): 3}),
    ("escaped key", '"\\u0061b" = 1\n', {("ab",): 1}),
    ("long string", 'a = """\nb = 1\n[c]\n"""\nd = 1', {("a",): 1, ("d",): 5}),
    ("long literal", "a = '''\n\"\"\"\n'''\nd = 1", {("a",): 1, ("d",): 4}),
    ("quotes that end a long string", 'a = """x"""""\nb = 1', {("b",): 2}),
    ("backslash before the fence", "a = 'x\\'\nb = 1", {("b",): 2}),
    ("array over lines", "a = [\n 1, # one\n 2,\n]\nb = 1", {("a", 0): 2, ("a", 1): 3, ("b",): 5}),
    ("nested arrays", "a = [[1,\n2],\n[3]]\nb=1", {("a", 0, 1): 2, ("a", 1, 0): 3, ("b",): 4}),
    ("strings in arrays", 'a = ["]", "[",\n"#"]\nb=1', {("a", 2): 2, ("b",): 3}),
    ("inline table", 'a = {b = 1, c = {d = "}"}}\ne = 1', {("a", "b"): 1, ("a", "c", "d"): 1, ("e",): 2}),
    ("tables in an array", "a = [{b = 1},\n{b = 2}]", {("a", 0, "b"): 1, ("a", 1, "b"): 2}),
    ("date with a space", "a = 1979-05-27 07:32:00 # x\nb = 1", {("b",): 2}),
    ("quoted header", "[a.'b.c']\nd = 1", {("a", "b.c", "d"): 2}),
    ("spaced header", "[ a . b ]\nd = 1", {("a", "b", "d"): 2}),
    ("windows line ends", "a = 1\r\n[b]\r\nc = 1\r\n", {("b",): 2, ("b", "c"): 3}),
    ("parent named later", "[a.b]\nx = 1\n[a]\ny = 1\n", {("a",): 1, ("a", "b"): 1, ("a", "y"): 4}),
]


@pytest.mark.parametrize(("text", "lines"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_each_spelling(text: str, lines: dict[Path, int]) -> None:
    found = key_lines(text)
    assert {path: found.get(path) for path in lines} == lines
    # Everything the parser reads has a line, and nothing else has one.
    assert set(found) == set(paths_in(tomllib.loads(text)))


def test_a_path_that_is_not_written_stands_where_its_table_does() -> None:
    lines = key_lines("a = 1\n\n[[step]]\ndo = 'run'\n")
    assert line_of(lines, ("step", 0, "hours")) == 3
    assert line_of(lines, ("nowhere",)) == 1


key = st.one_of(
    st.from_regex(r"\A[A-Za-z0-9_-]{1,4}\Z"),
    st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=3).map(
        lambda key: f"'{key}'" if "'" not in key else "k"
    ),
)
scalar = st.sampled_from(
    ['"#"', "'\\'", '"\\""', "1", "true", '"""\n[x]\ny = 1\n"""', "'''\n''''", "2020-01-01 00:00:00"]
)
value = st.recursive(
    scalar,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: "[ # ]\n" + ",\n".join(items) + "]")
        | st.lists(inner, max_size=3).map(
            lambda items: "{" + ", ".join(f"k{i} = {v}" for i, v in enumerate(items)) + "}"
        )
    ),
    max_leaves=5,
)
line = st.one_of(
    st.tuples(key, value).map(lambda pair: f"{pair[0]} = {pair[1]}"),
    st.tuples(key, key, value).map(lambda three: f"{three[0]}.{three[1]} = {three[2]}"),
    key.map(lambda name: f"[{name}]"),
    key.map(lambda name: f"[[{name}]]"),
    st.just("# [[comment]]"),
    st.just(""),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(line, max_size=12))
def test_every_key_of_any_document_has_its_line(written: list[str]) -> None:
    # Lines that would make the document invalid (a key twice, say) are left out.
    text = ""
    for one in written:
        try:
            tomllib.loads(f"{text}{one}\n")
        except tomllib.TOMLDecodeError:
            continue
        text += f"{one}\n"
    found = key_lines(text)
    assert set(found) == set(paths_in(tomllib.loads(text)))
    shown = text.splitlines()
    for path, at in found.items():
        if isinstance(path[-1], str) and path[-1].isascii() and path[-1].isalnum():
            assert path[-1] in shown[at - 1]
