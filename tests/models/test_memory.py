"""Errors of memory are told from others."""

from __future__ import annotations

import pytest
import torch

from whywrong.models.memory import keep_freed_memory, out_of_memory


@pytest.mark.parametrize(
    ("error", "memory_ran_out"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate"), True),
        (RuntimeError("shapes do not match"), False),
    ],
)
def test_memory_errors_are_told_from_others(error, memory_ran_out):
    assert out_of_memory(error) is memory_ran_out


def test_keeping_freed_memory_is_harmless():
    assert keep_freed_memory() in (True, False)
    assert float(torch.rand(100, 100).sum()) > 0
