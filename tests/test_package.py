"""The names of the package: all there, and none read before it is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import dnnlab


def test_every_public_name_is_there() -> None:
    for name in dnnlab.__all__:
        assert getattr(dnnlab, name) is not None and name in dir(dnnlab)
    with pytest.raises(AttributeError, match="has no attribute 'Conv3d'"):
        dnnlab.Conv3d  # noqa: B018 - asked for is enough


def test_type_checkers_see_the_names_that_come_later() -> None:
    tree = ast.parse(Path(dnnlab.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    seen = {alias.name: str(node.module) for node in block.body if isinstance(node, ast.ImportFrom)
            for alias in node.names}  # fmt: skip
    assert seen.keys() == dnnlab._ROOMS.keys()
    assert all(seen[name].startswith(room) for name, room in dnnlab._ROOMS.items())


def test_rooms_wait_until_a_name_is_asked_for() -> None:
    code = (
        "import sys, dnnlab\n"
        "rooms = 'buffering checkpointing measuring memory quiz tiling'.split()\n"
        "print([room for room in rooms if f'dnnlab.{room}' in sys.modules])\n"
        "from dnnlab import best_plan\n"
        "print([room for room in rooms if f'dnnlab.{room}' in sys.modules], best_plan.__name__)\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines() == ["[]", "['checkpointing'] best_plan"]
