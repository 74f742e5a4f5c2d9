"""Processes that run something together, as the ranks of one trial do: real ones, which exchange tensors with gloo."""

import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

from running import free_port

_SECONDS = 120


def _serve(connection: Connection) -> None:
    import torch
    from torch.distributed import TCPStore

    from framework._ranks import join

    torch.set_num_threads(1)
    while (job := connection.recv()) is not None:
        function, arguments, rank, size, port = job
        try:
            with join(TCPStore("127.0.0.1", port, size, is_master=rank == 0), rank, size):
                connection.send((function(*arguments), None))
        except BaseException:
            connection.send((None, traceback.format_exc()))


class Ranks:
    """Processes that wait for something to do.

    Args:
        connections: one to each.
    """

    def __init__(self, connections: list[Connection]) -> None:
        self._connections = connections

    def run(self, size: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """Call a function on so many ranks at once.

        Args:
            size: how many.
            function: of a module that they can import.
            arguments: what can be pickled.

        Returns:
            What each rank returned.
        """
        port = free_port()
        used = self._connections[:size]
        for rank, connection in enumerate(used):
            connection.send((function, arguments, rank, size, port))
        found = []
        for connection in used:
            assert connection.poll(_SECONDS), "a rank does not answer"
            found.append(connection.recv())
        errors = [error for _, error in found if error]
        assert not errors, "\n".join(errors)
        return [value for value, _ in found]


@contextmanager
def start_ranks(count: int) -> Iterator[Ranks]:
    context = multiprocessing.get_context("forkserver")
    # To be imported once; torch's compiler is by the first optimizer.
    context.set_forkserver_preload(["torch._dynamo", "framework._engine", "framework._trial"])
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    pairs = [context.Pipe() for _ in range(count)]
    processes = [context.Process(target=_serve, args=(theirs,), daemon=True) for _, theirs in pairs]
    for process in processes:
        process.start()
    try:
        yield Ranks([ours for ours, _ in pairs])
    finally:
        for process in processes:
            process.kill()
            process.join()
        for pair in pairs:
            for connection in pair:
                connection.close()
