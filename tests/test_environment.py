"""The ways in: the conda and Binder environment, the lock, and the two commands' own bookkeeping."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sysconfig
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import tasks

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
(PIP_SECTION,) = [x["pip"] for x in ENVIRONMENT["dependencies"] if isinstance(x, dict)]


def requirements(*extras: str) -> list[Requirement]:
    """The requirements of the project, with those of its extras."""
    lists = [PROJECT["dependencies"], *(PROJECT["optional-dependencies"][extra] for extra in extras)]
    return [Requirement(line) for lines in lists for line in lines]


def locked() -> dict[str, str]:
    """The lock as name -> version; a line that is no plain pin has no place in it."""
    lines = [x for x in tasks.LOCK.read_text("utf-8").splitlines() if not x.startswith("#")]
    matches = [(line, re.fullmatch(r"([\w.-]+)==([\w.!]+)", line)) for line in lines]
    assert [line for line, match in matches if match is None] == []
    return {canonicalize_name(match[1]): match[2] for _, match in matches if match}


def notebook_imports() -> str:
    """Every import statement of every code cell of the notebooks but those in a `try`, which may fail; one a line,
    `__future__` first."""
    found: set[str] = set()
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        for cell in json.loads(path.read_text("utf-8"))["cells"]:
            if cell["cell_type"] == "code":
                lines = "".join(cell["source"]).splitlines()
                nodes = list(ast.walk(ast.parse("\n".join(x for x in lines if not x.startswith(("%", "!"))))))
                tries = [x for x in nodes if isinstance(x, ast.Try)]
                optional = {inner for one in tries for part in one.body for inner in ast.walk(part)}
                imports = [x for x in nodes if isinstance(x, ast.Import | ast.ImportFrom) and x not in optional]
                found |= set(map(ast.unparse, imports))
    return "\n".join(sorted(found, key=lambda line: ("__future__" not in line, line)))


def execute(*command: str, cwd: Path) -> str:
    """Run a command, demand that it succeeds, return all it said."""
    # What a runner sets for its own Python would lend another environment what it lacks.
    outside = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        command,
        cwd=cwd,
        env=outside,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}"
    return done.stdout


def test_environment_file_is_what_conda_and_binder_can_read() -> None:
    conda = [x for x in ENVIRONMENT["dependencies"] if isinstance(x, str)]
    assert ENVIRONMENT["channels"] == ["conda-forge"]
    assert "python=3.11" in conda and "pip" in conda
    assert PIP_SECTION == ["-e .[lab]"]
    assert "lab" in PROJECT["optional-dependencies"]
    # Binder takes these before the file at the root: two descriptions would drift apart.
    assert [name for name in ("binder", ".binder", "runtime.txt") if (ROOT / name).exists()] == []


def test_repo2docker_accepts_the_repository() -> None:
    places = os.pathsep.join((sysconfig.get_path("scripts"), os.environ.get("PATH", "")))
    program = shutil.which(os.environ.get("REPO2DOCKER", "jupyter-repo2docker"), path=places)
    if program is None:
        pytest.skip("no jupyter-repo2docker; get it with: python -m tasks test --with binder")
    said = execute(program, "--no-build", "--debug", ".", cwd=ROOT)
    assert "python=3.11\n" in said
    update = re.search(r'env update .*--file "([^"]+)"', said)
    assert update is not None and update[1] == "environment.yml", said
    # `-e .` needs the whole repository to be there first; Binder copies it late if it thinks it can.
    assert said.index("src/ ${REPO_DIR}/") < update.start()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_pip_section_installs_on_the_oldest_versions_we_promise(tmp_path: Path) -> None:
    """First the oldest versions, as Binder's base environment does, then the section as conda runs it."""
    tasks.make_venv(tmp_path / "venv")
    python = tasks.python_of(tmp_path / "venv")
    pip = (python, "-m", "pip")
    oldest = [f"{x.name}=={min(bound.version for bound in x.specifier)}.*" for x in requirements("lab")]
    assert {"jupyterlab==4.4.*", "ipywidgets==8.1.7.*", "ipykernel==7.0.*"} <= set(oldest)  # Binder's base
    execute(*pip, "install", "-q", *oldest, cwd=tmp_path)
    # conda writes the section to a file in the temporary folder and runs it beside environment.yml.
    section = tmp_path / "section.txt"
    section.write_text("\n".join(PIP_SECTION))
    execute(*pip, "install", "-q", "-U", "-r", str(section), cwd=ROOT)
    execute(*pip, "check", cwd=tmp_path)
    frozen = execute(*pip, "freeze", "--exclude-editable", cwd=tmp_path).splitlines()
    assert [x for x in frozen if x.startswith(("jupyterlab==4.4.", "ipywidgets==8.1.7", "ipykernel==7.0."))][2:]
    assert not [x for x in frozen if x.startswith("torch==")]
    imports = notebook_imports()
    assert "dnnlab" in imports
    execute(python, "-c", imports, cwd=tmp_path)


def test_lock_holds_a_version_for_every_extra_within_its_bounds() -> None:
    versions = locked()
    for needed in requirements(*PROJECT["optional-dependencies"]):
        assert needed.specifier.contains(versions[canonicalize_name(needed.name)]), needed


def test_lab_does_not_ask_for_torch() -> None:
    assert "torch" not in {needed.name for needed in requirements("lab", "test")}
