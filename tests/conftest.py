"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads stall each other where cores are shared

import torch

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"

# Workers of pytest-xdist share the cores among themselves.
torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real models and images; tests that need it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("real models and images are not here (folder ../shared/data)")
    return SHARED


@pytest.fixture(scope="session")
def shared_models(shared_data: Path):
    """``build(name)`` of the real models."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("shared_models", shared_data / "models.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["shared_models"] = module
    spec.loader.exec_module(module)
    return module.build
