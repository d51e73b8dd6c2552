"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads stall each other where cores are shared

import torch
from hypothesis import settings

settings.register_profile("whywrong", deadline=None)  # a busy machine is no failure
settings.load_profile("whywrong")

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


@pytest.fixture
def install_plugin(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch):
    """``install(module, source, group)``: a package with one file and one entry point, for ``LINE`` in that file."""

    def install(module: str, source: str, group: str) -> None:
        site = tmp_path_factory.mktemp(module)
        (site / f"{module}.py").write_text(source)
        facts = site / f"{module}-1.0.dist-info"
        facts.mkdir()
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (facts / "entry_points.txt").write_text(f"[{group}]\ntoy = {module}:LINE\n")
        monkeypatch.syspath_prepend(site)
        monkeypatch.delitem(sys.modules, module, raising=False)

    return install
