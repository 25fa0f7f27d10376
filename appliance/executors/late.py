"""Libraries and objects that are made when somebody first needs them: to load an HTTP client takes long."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


def load_late(*names: str) -> None:
    """From here on `import NAME` is cheap, and the first use of what is in it loads it. Not for what is loaded already."""
    for name in names:
        if name not in sys.modules:
            sys.modules[name] = _Module(name)


class _Module(ModuleType):
    """In the place of a module, for those who imported it, also after it was loaded.

    Not importlib's LazyLoader: the import statement itself asks a module for its spec, and that would load it.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__spec__ = importlib.util.find_spec(name)
        self.__path__ = list(self.__spec__.submodule_search_locations or ()) if self.__spec__ is not None else []

    def __getattr__(self, attribute: str) -> Any:
        for name in [name for name, module in sys.modules.items() if isinstance(module, _Module)]:
            del sys.modules[name]  # all at once: one that is being loaded must not meet another's stand-in
        return getattr(importlib.import_module(self.__name__), attribute)


class Late:
    """Stands for an object until an attribute of it is asked for; those in `known` are told without it."""

    def __init__(self, make: Callable[[], object], **known: object) -> None:
        self._make = make
        self._made: Any = None
        self.__dict__.update(known)

    @property
    def is_made(self) -> bool:
        return self._made is not None

    def __getattr__(self, name: str) -> Any:
        if self._made is None:
            self._made = self._make()
        return getattr(self._made, name)
