"""`python -m slides [NOTEBOOK ...]`: write a slide deck for each lecture notebook to build/slides."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .deck import SlidesError, build

ROOT = Path(__file__).resolve().parent.parent


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("python -m slides", description="Turn lecture notebooks into slide decks.")
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: notebooks/NN_*.ipynb")
    parser.add_argument("--to", type=Path, default=ROOT / "build" / "slides", help="the folder for the decks")
    options = parser.parse_args(arguments)
    notebooks = options.notebooks or sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    try:
        decks = build(notebooks, options.to)
    except (OSError, SlidesError) as problem:
        print(problem, file=sys.stderr)
        return 1
    for path, number in decks.items():
        print(f"{path}  {number} slides")
    print(f"Open {(options.to / 'index.html').resolve().as_uri()}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
