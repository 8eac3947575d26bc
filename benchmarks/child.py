"""Workers run in processes of their own, as they do in production: so they share no GIL with what feeds them."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import Connection
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_spawn = multiprocessing.get_context("spawn")  # a fork would inherit sockets and locks


def call(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a function in a process of its own, and give its result or raise its exception."""
    with ProcessPoolExecutor(1, mp_context=_spawn) as pool:
        return pool.submit(function, *args, **kwargs).result()


@contextlib.contextmanager
def beside(function: Callable[[str, Connection[Any, Any]], None], where: str) -> Iterator[Connection[Any, Any]]:
    """Run a function in a process beside us for the block, with a pipe in between."""
    here, there = _spawn.Pipe()
    process = _spawn.Process(target=function, args=(where, there))
    process.start()
    there.close()  # ours would keep the pipe open when the child has died
    try:
        yield here
    finally:
        here.close()
        process.join(10)
        if process.is_alive():
            process.kill()
            process.join()
