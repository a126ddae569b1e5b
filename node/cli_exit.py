"""How the command ends: one clear line on standard error, and an exit code that scripts can rely on.

0 done; 1 the operation failed (not found, refused, unreachable); 2 bad input, or this machine is at fault; 130 and
143 ended by Ctrl-C and SIGTERM. Never a traceback, unless ROOKERY_DEBUG is set. Refuses to know any command.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

import typer
from typer.core import TyperGroup

from node.adapters.http import ApiFailure

FAILED: Final = 1
BAD_INPUT: Final = 2
INTERRUPTED: Final = 130
"""128 + SIGINT, as shells count (POSIX shells, "exit status")."""
TERMINATED: Final = 143
"""128 + SIGTERM."""


DEBUG_VARIABLE: Final = "ROOKERY_DEBUG"
"""Set to 1 it lets tracebacks through; no setting of the node."""


class Terminated(BaseException):
    """Raised in the main task's place when SIGTERM ended a command. No `Exception`: nothing may swallow it."""


class RookeryGroup(TyperGroup):
    """The command group whose failures are one line each."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command given by `args` and exit."""
        given = list(sys.argv[1:] if args is None else args)

        def run() -> Any:
            return super(RookeryGroup, self).main(
                given or ["--help"], "rookery", complete_var, False, windows_expand_args, **extra
            )

        if not standalone_mode:
            return run()
        sys.exit(guarded(run, as_json="--json" in given))


def guarded(run: Any, *, as_json: bool) -> int:
    """Call `run` and return the exit code; whatever it raises becomes a line."""
    quiet_logging()
    try:
        code = run()
    except typer.TyperException as error:
        return _usage(error, as_json)
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except Terminated:
        print("terminated", file=sys.stderr)
        return TERMINATED
    except BrokenPipeError:
        # The reader of our output went away, as `head` does; Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        if debugging():
            raise
        from node.api_errors import failure_of

        failure = failure_of(error)
        tell(failure, as_json)
        return exit_code(failure)
    return code if isinstance(code, int) else 0


def quiet_logging() -> None:
    """Keep the libraries' log lines, and their tracebacks, from a command's output; `run` shows them its own way."""
    import logging

    if debugging():
        logging.basicConfig(level=logging.DEBUG)
    elif not logging.getLogger().handlers:
        logging.getLogger().addHandler(logging.NullHandler())


def exit_code(failure: ApiFailure) -> int:
    """2 when the input or this machine is at fault, else 1."""
    return BAD_INPUT if failure.fault == "local" else FAILED


def debugging() -> bool:
    """Whether the user wants tracebacks."""
    return os.environ.get(DEBUG_VARIABLE, "") not in ("", "0")


def tell(failure: ApiFailure, as_json: bool) -> None:
    """Say what went wrong: for people on standard error, and as a document when JSON was asked for."""
    if as_json:
        print(json.dumps(failure.to_json(), ensure_ascii=False), flush=True)
    print(f"{_painted('error:', '31')} {_harmless(failure.message)}", file=sys.stderr)
    if failure.hint:
        print(f"{_painted('hint:', '36')} {_harmless(failure.hint)}", file=sys.stderr)


def failed(kind: str, message: str) -> NoReturn:
    """End a command whose operation failed and whose document, if one was asked for, is out already."""
    from node.api_errors import HINTS

    tell(ApiFailure(kind, message, HINTS.get(kind, ""), fault="operation"), as_json=False)
    raise typer.Exit(FAILED)


def warn_of_crowd(document: Mapping[str, Any]) -> None:
    """Say that a look-up came to a place crowded with ids that may have been made for it (`dht/crowd.py`)."""
    if (document.get("stats") or {}).get("crowded"):
        said = "more nodes lie around this place than chance puts there: their ids may have been made for it"
        print(f"{_painted('warning:', '33')} {said}. All of the region was asked.", file=sys.stderr)


def _usage(error: typer.TyperException, as_json: bool) -> int:
    message = error.format_message()
    context = getattr(error, "ctx", None)
    if "\n" in message:  # A group that was named without a command shows its help.
        print(message, file=sys.stderr)
        return BAD_INPUT
    hint = f"see `{context.command_path} --help`" if context is not None else ""
    tell(ApiFailure("usage", message[:1].lower() + message[1:].rstrip("."), hint), as_json)
    return BAD_INPUT


def _harmless(line: str) -> str:
    """A line that a file's name, or a stranger's word in it, cannot break or steer the terminal with."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line)


def _painted(word: str, colour: str) -> str:
    if os.environ.get("NO_COLOR") or not sys.stderr.isatty():
        return word
    return f"\x1b[1;{colour}m{word}\x1b[0m"
