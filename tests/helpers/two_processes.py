"""Work in two processes over gloo, as torchrun would start it."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable
from typing import Any

import torch


def in_two_processes(work: Callable[[], Any]) -> list[Any]:
    """Runs ``work`` as torchrun would and returns what each process returned, by rank."""
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def run(rank: int) -> None:
        os.environ.update(
            RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
        )
        torch.set_num_threads(1)  # the parent's OpenMP threads do not exist in a forked process
        try:
            answers.put((rank, work()))
        except BaseException as error:
            answers.put((rank, error))
            raise

    processes = [context.Process(target=run, args=(rank,)) for rank in range(2)]
    for process in processes:
        process.start()
    found = dict(answers.get(timeout=120) for _ in processes)
    for process in processes:
        process.join(timeout=30)
    for answer in found.values():
        if isinstance(answer, BaseException):
            raise answer
    return [found[0], found[1]]
