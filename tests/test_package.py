"""The wheel and the sdist: what is in them, and that the wheel works where nothing else of the project is."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import PathDistribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import whywrong

ROOT = Path(__file__).parents[1]
SOURCE = Path(whywrong.__file__).parent
SHIPPED = ("nets/cnn.safetensors", "planted/causes.npz", "templates/report.html.j2", "static/report.css", "py.typed")
OTHER_NAMES = {
    "PIL": "pillow",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
}  # modules that are not named as their package


def build(project: Path, out: Path, *targets: str) -> None:
    flags = [flag for target in targets for flag in ("-t", target)]
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(out), *flags],
        cwd=project,
        check=True,
        stdout=subprocess.DEVNULL,
    )


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    build(ROOT, out, "wheel", "sdist")
    return out


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (found,) = dist.glob("*.whl")
    return found


def sources() -> set[str]:
    """Files of the package, relative to ``src``; what Python left beside them apart."""
    files = (f for f in SOURCE.rglob("*") if f.is_file() and f.suffix != ".pyc")
    return {f.relative_to(SOURCE.parent).as_posix() for f in files}


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == sources()
    for part in SHIPPED:
        assert any(name.endswith(part) for name in names), part


def test_the_sdist_holds_the_package_and_builds_the_same_wheel(dist: Path, wheel: Path, tmp_path: Path) -> None:
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (project,) = tmp_path.iterdir()
    files = {f.relative_to(project).as_posix() for f in project.rglob("*") if f.is_file()}
    assert {f for f in files if f.startswith("src/")} == {f"src/{name}" for name in sources()}
    beside = {"CHANGELOG.md", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml"}
    assert {f for f in files if not f.startswith("src/")} - {".gitignore"} == beside
    build(project, tmp_path / "again", "wheel")
    assert (tmp_path / "again" / wheel.name).read_bytes() == wheel.read_bytes()


def test_the_metadata_names_version_licence_and_command(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    (info,) = tmp_path.glob("*.dist-info")
    found = PathDistribution(info)
    assert found.version == whywrong.__version__
    assert found.metadata["License-Expression"] == "Apache-2.0"
    assert (info / "licenses" / "LICENSE").read_text("utf-8") == (ROOT / "LICENSE").read_text("utf-8")
    assert [(e.group, e.name, e.value) for e in found.entry_points] == [
        ("console_scripts", "whywrong", "whywrong.cli:main")
    ]
    urls = found.metadata.get_all("Project-URL") or []
    assert all(re.fullmatch(r"\w+, https://github\.com/\S+", url) for url in urls)


def imported(path: Path) -> set[str]:
    """Top-level modules that a file imports, those for type checkers alone left out."""
    found: set[str] = set()

    def walk(node: ast.AST) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.Import):
            found.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
        for child in ast.iter_child_nodes(node):
            walk(child)

    walk(ast.parse(path.read_text("utf-8")))
    return found


def test_every_package_that_is_imported_is_declared_and_every_declared_one_is_imported() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = [line for name, lines in project["optional-dependencies"].items() if name != "all" for line in lines]
    needed, optional = (
        {canonicalize_name(Requirement(line).name) for line in lines} for lines in (project["dependencies"], extras)
    )
    modules = {m for path in SOURCE.rglob("*.py") for m in imported(path)} - set(sys.stdlib_module_names)
    used = {OTHER_NAMES.get(module, canonicalize_name(module)) for module in modules - {"whywrong"}}
    assert used - needed - optional == set(), "imported, but not declared"
    assert needed - used == set(), "declared, but not imported"


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment that holds the wheel and the packages of ``requirements/run.txt``, and nothing else."""
    home = tmp_path_factory.mktemp("installed") / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    uv = Path(sys.prefix) / "bin" / "uv"
    flags = ["--quiet", "--offline", "--no-index", "--no-deps"]
    subprocess.run([uv, "pip", "install", *flags, "--python", home / "bin" / "python", wheel], check=True)
    (site,) = home.glob("lib/python*/site-packages")
    # Links to the locked packages stand in for an installation, which would take minutes.
    for name in re.findall(r"^([\w.-]+)==", (ROOT / "requirements" / "run.txt").read_text("utf-8"), re.MULTILINE):
        try:
            found = distribution(name)
        except ModuleNotFoundError:  # locked for another system
            continue
        tops = {file.parts[0] for file in found.files or () if file.parts[0] not in ("..", "__pycache__")}
        for top in tops:
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(found.locate_file(top))))
    return home / "bin"


def run(command: Path, *arguments: str, folder: Path) -> str:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "OMP_NUM_THREADS") if name in os.environ}
    done = subprocess.run([command, *arguments], cwd=folder, env=kept, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow  # `make dist` runs the whole demo from the wheel, with the packages installed from their hashes
def test_the_installed_wheel_makes_a_report_in_any_folder(installed: Path, tmp_path: Path) -> None:
    where = run(installed / "python", "-c", "import whywrong; print(whywrong.__file__)", folder=tmp_path)
    assert Path(where).is_relative_to(installed.parent)
    with pytest.raises(AssertionError, match="No module named 'pytest'"):
        run(installed / "python", "-c", "import pytest", folder=tmp_path)
    assert "diagnose" in run(installed / "whywrong", "--help", folder=tmp_path)
    assert whywrong.__version__ in run(installed / "whywrong", "--version", folder=tmp_path)
    demo = ["diagnose", "planted:cnn-spurious", "planted:causes", "--images", "8", "--methods", "cam", "--out", "run"]
    run(installed / "whywrong", *demo, "--progress", "none", folder=tmp_path)
    assert "planted:cnn-spurious" in (tmp_path / "run" / "report.html").read_text("utf-8")
