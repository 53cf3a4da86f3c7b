"""What the package exports, and what its packaging says."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import emsync
from emsync.cli.main import EXTRA_OF

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))


#: Distributions whose name is not the one they are imported by.
DISTRIBUTION = {"fluidsynth": "pyfluidsynth", "sklearn": "scikit_learn"}


def distributions(wishes: list[str]) -> set[str]:
    """Names of `name>=1` wishes, as they are imported."""
    ends = str.maketrans(">=<!~[;", "       ")
    return {wish.translate(ends).split()[0].replace("-", "_") for wish in wishes}


@pytest.mark.parametrize("name", emsync.__all__)
def test_every_public_name_can_be_had(name: str) -> None:
    value = getattr(emsync, name)
    assert name in dir(emsync)
    if isinstance(value, type):
        assert value.__module__ == emsync._NAMES[name]


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'emsync' has no attribute 'nothing'"):
        _ = emsync.nothing


def test_import_alone_imports_nothing() -> None:
    program = "import sys; before = set(sys.modules); import emsync; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    ours = {name for name in done.stdout.split() if name.startswith("emsync")}
    assert ours == {"emsync"}
    assert "numpy" not in done.stdout.split()


def test_every_top_folder_is_mapped_and_linked(project: dict[str, Any]) -> None:
    packaging = project["tool"]["setuptools"]
    assert set(packaging["packages"]) == set(packaging["package-dir"])
    for package, folder in packaging["package-dir"].items():
        assert (REPOSITORY / folder / "__init__.py").is_file(), folder
        if package != "emsync":
            link = REPOSITORY / package.replace(".", "/")
            assert link.resolve() == (REPOSITORY / folder).resolve()
    # A folder inside one of them would not be in the wheel.
    for folder in packaging["package-dir"].values():
        inner = {str(path.parent.relative_to(REPOSITORY)) for path in (REPOSITORY / folder).glob("*/*.py")}
        listed = set(packaging["package-dir"].values())
        links = {name for name in inner if (REPOSITORY / name).is_symlink()}
        assert inner - links <= listed, f"{inner - links - listed} would not be in the wheel"


def test_the_default_install_has_no_torch_and_extras_bring_what_errors_say(project: dict[str, Any]) -> None:
    core = distributions(project["project"]["dependencies"])
    extras = project["project"]["optional-dependencies"]
    assert not core & set(EXTRA_OF)
    for module, extra in EXTRA_OF.items():
        assert DISTRIBUTION.get(module, module) in distributions(extras[extra])


def test_version_is_said_once(project: dict[str, Any]) -> None:
    assert "version" in project["project"]["dynamic"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "emsync.__version__"}
    assert emsync.__version__.count(".") == 2


def test_every_bare_folder_import_is_banned(project: dict[str, Any]) -> None:
    banned = set(project["tool"]["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"])
    folders = {name.split("/")[0] for name in project["tool"]["setuptools"]["package-dir"].values()} - {"emsync"}
    assert banned == folders


def test_the_tests_python_is_not_older_than_promised(project: dict[str, Any]) -> None:
    oldest = project["project"]["requires-python"].removeprefix(">=")
    assert sys.version_info >= tuple(int(part) for part in oldest.split("."))
    assert project["tool"]["ruff"]["target-version"] == "py" + oldest.replace(".", "")
    assert project["tool"]["mypy"]["python_version"] == oldest
