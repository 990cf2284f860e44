"""Work in two processes over gloo, as torchrun would start it."""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
from collections.abc import Callable
from multiprocessing.context import BaseContext
from typing import Any

import cloudpickle
import torch


def in_two_processes(work: Callable[[], Any]) -> list[Any]:
    """Runs ``work`` as torchrun would and returns what each process returned, by rank.

    The processes are forked, so they see all that the test has set up. They cannot compute gradients once this process
    has started autograd's threads: :func:`train_in_two_processes`.
    """
    return _gather(multiprocessing.get_context("fork"), work)


def train_in_two_processes(work: Callable[[], Any]) -> list[Any]:
    """The same in new interpreters, for work that computes gradients; what is patched in this process is not there."""
    module = sys.modules[work.__module__]
    cloudpickle.register_pickle_by_value(module)  # test modules cannot be imported by name
    try:
        payload = cloudpickle.dumps(work)
    finally:
        cloudpickle.unregister_pickle_by_value(module)
    return _gather(multiprocessing.get_context("spawn"), _Pickled(payload))


class _Pickled:
    """A function that travels as bytes."""

    def __init__(self, payload: bytes) -> None:
        self.payload = payload

    def __call__(self) -> Any:
        return cloudpickle.loads(self.payload)()


def _gather(context: BaseContext, work: Callable[[], Any]) -> list[Any]:
    answers = context.Queue()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes = [context.Process(target=_run, args=(rank, port, work, answers)) for rank in range(2)]
    for process in processes:
        process.start()
    found = dict(answers.get(timeout=180) for _ in processes)
    for process in processes:
        process.join(timeout=30)
    for answer in found.values():
        if isinstance(answer, BaseException):
            raise answer
    return [found[0], found[1]]


def _run(rank: int, port: int, work: Callable[[], Any], answers: Any) -> None:
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    torch.set_num_threads(1)  # the parent's OpenMP threads do not exist in a forked process
    try:
        answers.put((rank, work()))
    except BaseException as error:
        answers.put((rank, error))
        raise
