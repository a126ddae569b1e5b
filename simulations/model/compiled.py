"""How a function becomes machine code: the one place that knows Numba's decorator.

Decides the options and where the machine code is kept; refuses to know what is compiled. Compiled functions release
the interpreter's lock, so that threads run them side by side (`simulations.model.chunks`). Numba's own cache looks
only at the file of the function that is called: an edit of a callee in another file would go unseen. So the cache
folder is named for the text of all files compiled, and lies below the user's cache folder (or
`NUMBA_CACHE_DIR`), never beside the sources, which may be read-only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeAlias, TypeVar, cast

import numba
import numpy as np
import platformdirs
from numpy.typing import NDArray

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

Array: TypeAlias = NDArray[Any]
"""Any array inside compiled code, where items of several widths are mixed."""
Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int32]
Flags: TypeAlias = NDArray[np.bool_]


def _digest() -> str:
    """What the machine code depends on, as text for a folder's name."""
    state = hashlib.blake2b(numba.__version__.encode(), digest_size=8)
    here = Path(__file__).parent
    # One kernel lies outside: that of the fitted latency models.
    for path in [*sorted(here.glob("*.py")), here.parent / "latency_kernel.py"]:
        state.update(path.read_bytes())
    return state.hexdigest()


_njit: Any = numba.njit
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}
"""Divisions here have divisors that are never zero, and nobody calls from C: less to compile."""
_settings: Any = numba.config
"""What Numba takes from the environment; its fields come into being at run time."""
_CACHE = Path(_settings.CACHE_DIR or platformdirs.user_cache_dir("rookery")) / f"model-{_digest()}"


def compiled(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Compile `function` at its first call, and keep the machine code for the next start where that is possible."""
    before = _settings.CACHE_DIR
    _settings.CACHE_DIR = str(_CACHE)
    try:
        made = _njit(cache=True, **_OPTIONS)(function)
    except (OSError, RuntimeError):
        # No folder can be written: it is compiled anew at each start.
        made = _njit(**_OPTIONS)(function)
    finally:
        _settings.CACHE_DIR = before
    return cast("Callable[Parameters, Result]", made)


def inlined(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Compile `function` as a part of whoever calls it; it is never called from Python, so nothing of it is kept."""
    return cast("Callable[Parameters, Result]", _njit(no_cpython_wrapper=True, **_OPTIONS)(function))


@inlined
def zero() -> int:
    """Give 0 as a number like any other: for a constant that is passed on, Numba would compile the callee once more."""
    return np.int64(0)  # type: ignore[return-value]
