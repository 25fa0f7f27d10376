"""A call in a thread of its own. `concurrent.futures` can more, but takes as long to load as git to find a folder."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Later(Generic[T]):
    """Begins at once."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._found: list[T] = []
        self._trouble: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def result(self) -> T:
        """Wait for what the call returns or raises. May be repeated, and from any thread."""
        self._thread.join()
        if self._trouble is not None:
            raise self._trouble
        return self._found[0]

    def _run(self) -> None:
        try:
            self._found.append(self._call())
        except BaseException as error:
            self._trouble = error
