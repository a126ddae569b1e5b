"""Fuzzes one decoder, led by which of its code each input reaches: `coverage_guided.py NAME SECONDS FOLDER`.

Run as a program of its own, since libFuzzer takes the process over. FOLDER holds the inputs to begin with, gets those
that reach something new, and the one that broke the decoder, if any: then it ends with an exit code other than 0.
"""

import sys

import atheris


def main() -> None:
    """Instrument the code, load the table, and go."""
    name, seconds, folder = sys.argv[1:]
    with atheris.instrument_imports(include=["bootstrap", "dht", "node"]):
        from tests.fuzz.targets import MOST, TARGETS
    target = TARGETS[name]
    options = [f"-max_total_time={seconds}", f"-max_len={MOST}", "-seed=1", f"-artifact_prefix={folder}/", folder]
    atheris.Setup([sys.argv[0], *options], target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
