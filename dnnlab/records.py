"""What a student has done: one small JSON file, `dnnlab-progress.json`, in the folder of the notebook.

The environment's DNNLAB_PROGRESS names another place. Predictions and answers to exercises stand in it under
headings of their own, so that the two never overwrite each other. A file that cannot be read is kept aside under
the name `….broken.json`, never overwritten.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .errors import DnnlabError

FILE = "dnnlab-progress.json"


def read(heading: str) -> dict[str, Any]:
    """What stands under a heading, empty where nothing does yet. Raises DnnlabError for a file that can neither be
    read nor kept aside."""
    return dict(_file().get(heading, {}))


def write(heading: str, entries: Mapping[str, Any]) -> None:
    """Replace what stands under a heading; a kernel that dies half-way loses nothing. Raises DnnlabError where the
    folder cannot be written."""
    path = _path()
    try:
        keep(path, _file() | {heading: entries})
    except OSError as error:
        raise _refused(path, error) from None


def keep(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file through one beside it, so that it is either the old one or the new one. Raises OSError."""
    beside = path.with_suffix(f".{os.getpid()}.tmp")  # two notebooks may be at work in a folder
    try:
        beside.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def set_aside(path: Path) -> Path:
    """Give a file that cannot be read the name `….broken.json`, and tell it. Raises OSError."""
    aside = path.with_suffix(".broken.json")
    if not path.is_file():  # a folder is somebody's, whatever its name
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    return path.replace(aside)


def now() -> str:
    """The time as it is recorded."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _path() -> Path:
    return Path(os.environ.get("DNNLAB_PROGRESS") or FILE)


def _file() -> dict[str, Any]:
    path = _path()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, Mapping) and all(isinstance(part, Mapping) for part in content.values()):
            return dict(content)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError):
        pass
    try:
        set_aside(path)
    except OSError as error:
        raise _refused(path, error) from None
    return {}


def _refused(path: Path, error: OSError) -> DnnlabError:
    return DnnlabError(f"cannot write {path.name} in this folder: {error.strerror}; set DNNLAB_PROGRESS")
