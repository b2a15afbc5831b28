"""e3nn imported and its networks built without what costs seconds and changes no number of a frozen network.

Building a network of e3nn takes about three seconds, most of them spent on two things: the search for the fastest order of
every einsum, and the second moment of every activation from a million random numbers. Neither is needed to run one.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache

import torch


@contextlib.contextmanager
def _attribute(owner: object, name: str, value: object) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _as_it_is(function: Callable) -> Callable:
    return function


def import_o3():
    """The module `e3nn.o3`, without `torch._dynamo`, a compiler that takes a second to import.

    e3nn marks one function as not to be compiled, and that mark alone imports the compiler.
    """
    if "e3nn.o3" in sys.modules or "torch._dynamo" in sys.modules:
        from e3nn import o3
    else:
        with _attribute(torch.compiler, "disable", _as_it_is):
            from e3nn import o3
    return o3


@contextlib.contextmanager
def quick_build() -> Iterator[None]:
    """Context in which e3nn builds networks quickly; its settings before are restored.

    Einsums are not optimised, nothing is scripted, and the second moment of an activation is computed once a process.
    """
    import_o3()
    import e3nn
    from e3nn.math import _normalize_activation as activation

    before = e3nn.get_optimization_defaults()
    e3nn.set_optimization_defaults(optimize_einsums=False, jit_mode="eager")
    try:
        with _attribute(activation, "moment", _moments(activation.moment)):
            yield
    finally:
        e3nn.set_optimization_defaults(**{k: before[k] for k in ("optimize_einsums", "jit_mode")})


@lru_cache(maxsize=1)
def _moments(moment: Callable) -> Callable:
    return lru_cache(maxsize=64)(moment)
