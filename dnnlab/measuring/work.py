"""What a library really does for a layer, counted: the arithmetic, the bytes of every pass, the calls.

A layer's own costs are the least it could take. A library makes copies (columns of windows, blocks of channels),
passes over an array several times, and starts each call anew; a `Work` counts that for one library.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

#: Libraries that can carry out layers. "cuda" is PyTorch on a GPU.
LIBRARIES = ("numpy", "torch", "cuda")


@dataclass(frozen=True)
class Work:
    """One execution of a layer by a library.

    `matrix`: operations (a multiply-accumulate is two) in matrix products and convolutions, `convolved` of them in the
    library's own convolutions, where it has code for those beside its matrix products. `moved`: bytes that all
    passes over arrays read and write together, copies included. `copied`: how many of those are the library's own
    copies, which the layer's lines do not ask for. Of the others, `shared` are moved by all threads together where the
    library's passes have one thread otherwise, and `fetched` cross because a processor fetches a line of the cache
    before a result is written into it (a GPU does without). `working`: bytes of the different arrays touched; whether
    they fit in the cache decides at which rate they move. `calls`: calls of the library. `functions`: evaluations of
    what is slower than moving its operands, by kind; `FUNCTIONS` in expected.py lists them.
    """

    matrix: int = 0
    moved: int = 0
    copied: int = 0
    convolved: int = field(default=0, kw_only=True)
    shared: int = field(default=0, kw_only=True)
    fetched: int = field(default=0, kw_only=True)
    working: int = 0
    calls: int = 1
    functions: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "functions", MappingProxyType(dict(self.functions)))

    def __add__(self, other: Work) -> Work:
        """Two pieces of work one after the other. The larger working set decides for both."""
        functions = {
            kind: self.functions.get(kind, 0) + other.functions.get(kind, 0)
            for kind in dict.fromkeys((*self.functions, *other.functions))
        }
        return Work(
            self.matrix + other.matrix,
            self.moved + other.moved,
            self.copied + other.copied,
            max(self.working, other.working),
            self.calls + other.calls,
            functions,
            convolved=self.convolved + other.convolved,
            shared=self.shared + other.shared,
            fetched=self.fetched + other.fetched,
        )
