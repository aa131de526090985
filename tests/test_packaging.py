"""The wheel holds our packages, and nothing beside them."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {"gazecore": "gazecore", "tools": "gazecore/tools", "schemas": "gazecore/schemas"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def tree(pattern: str) -> set[str]:
    """Files of the tree by the name that they have in the wheel."""
    return {
        f"{inside}/{path.relative_to(ROOT / folder).as_posix()}"
        for folder, inside in FOLDERS.items()
        for path in (ROOT / folder).rglob(pattern)
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The names of the files in a wheel that is built offline from a copy of the tree."""
    copy = tmp_path_factory.mktemp("wheel") / "copy"
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, copy / file)
    build = "import setuptools.build_meta as backend, sys; backend.build_wheel(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", build, copy.parent], cwd=copy, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (path,) = copy.parent.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_wheel_holds_every_module_of_the_tree(wheel):
    assert {name for name in wheel if name.endswith(".py")} == tree("*.py")


def test_the_wheel_holds_schemas_templates_and_the_mark_of_types(wheel):
    assert tree("*.json") | tree("*.jinja") | tree("py.typed") <= wheel.keys()


def test_nothing_lies_beside_the_package(wheel):
    assert {name.split("/")[0] for name in wheel} == {"gazecore", f"gazecore-{PROJECT['project']['version']}.dist-info"}
    assert not [name for name in wheel if "golden" in name or "tests" in name or "__pycache__" in name]


def test_the_program_is_an_entry_point(wheel):
    entry_points = next(text.decode() for name, text in wheel.items() if name.endswith("entry_points.txt"))
    assert "gz = gazecore.tools.__main__:main" in entry_points


def test_the_list_of_packages_is_that_of_the_tree():
    found = {name.rpartition("/")[0].replace("/", ".") for name in tree("*.py")}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == found
    assert all(f"{name.replace('.', '/')}/__init__.py" in tree("__init__.py") for name in found)
