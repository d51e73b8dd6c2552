"""A figure replaces a figure of ours and nothing else."""

from __future__ import annotations

import pytest
from matplotlib.figure import Figure

from whywrong.core.errors import InputError, RunFolderError
from whywrong.reproduce.figure_files import write_figure


@pytest.mark.parametrize("ending", ["png", "svg", "pdf", "eps"])
def test_a_figure_is_replaced_and_another_file_is_kept(tmp_path, ending):
    path = tmp_path / f"figure.{ending}"
    for _ in range(2):
        write_figure(Figure(), path)
        assert path.stat().st_size > 200
    path.write_bytes(b"mine")
    with pytest.raises(InputError, match="is kept"):
        write_figure(Figure(), path)
    assert path.read_bytes() == b"mine"
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunFolderError, match="found a link"):
        write_figure(Figure(), path)
    assert not (tmp_path / "elsewhere").exists()
