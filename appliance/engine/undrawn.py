"""Imports what wants matplotlib without matplotlib.

pyannote.audio imports it for pictures of training that nobody draws here. The real one builds a cache of the machine's fonts
in the home directory, and refuses to be imported where neither that nor /tmp can be written, as in a read-only container.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, MutableSequence, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

NAME = "matplotlib"


class _Nothing(ModuleType):
    """Has every attribute and can be called; draws nothing."""

    __path__: MutableSequence[str] = []  # noqa: RUF012  # never written to: nothing is found by it

    def __getattr__(self, name: str) -> _Nothing:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Nothing(name)

    def __call__(self, *args: object, **kwargs: object) -> _Nothing:
        return self


class _Undrawn(MetaPathFinder, Loader):
    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        return ModuleSpec(fullname, self, is_package=True) if fullname.partition(".")[0] == NAME else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Nothing(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


@contextmanager
def nothing_drawn() -> Iterator[None]:
    """While it lasts, importing matplotlib gives empty modules; afterwards the real one can be imported again."""
    finder = _Undrawn()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name, module in sys.modules.items() if isinstance(module, _Nothing)]:
            del sys.modules[name]
