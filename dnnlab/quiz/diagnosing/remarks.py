"""What the general rules say: for each id a sentence or two on what is likely confused, and the lecture that treats it.

The ids are stable, since reports count them: a kind, and after a colon what it is about (`factor:2`, `missing:c`).
"""

from __future__ import annotations

from ..verdicts import Note

COSTS = "02_layer_costs/Six letters"
MACS = "01_computational_view/MACs: is there work for everyone?"
SIZES = "05_vram_vs_ram/Does it fit?"
BUFFERS = "06_double_buffering/Can loading overlap with computation?"
WAITING = "04_bound_types/Two engines, one layer"

PART = "One part of your formula is not right yet, and this is about that part alone. "

#: By kind, or by the whole id: the message ({} is what follows the colon) and where to look.
REMARKS: dict[str, tuple[str, str]] = {
    "factor:2": (
        "This is exactly twice as much as asked. What is counted twice: both operations of a multiply-add, both "
        "directions, both operands, two bytes for one? Which of them does the question ask for?",
        MACS,
    ),
    "factor:1/2": (
        "This is exactly half of what is asked. What comes in twos: a multiply-add is two operations, data goes in "
        "and comes out, a number may take two bytes. Which half is left out?",
        MACS,
    ),
    "factor": ("Between this and the right answer lies a constant factor (which may be chance, where both are small "
               "numbers). What is counted once too often, or not often enough?", COSTS),
    "bits": ("This is off by a factor of 8: bits and bytes. Sizes are asked for in bytes, links are often sold in "
             "bits.", SIZES),
    "element-size": ("This is off by a factor of 4. Elements and bytes, perhaps: where bytes are asked for, how many "
                     "does each element take? If not, what is counted four times, or should be?", SIZES),
    "prefix": ("This is off by a power of a thousand. Follow the prefixes (k, M, G, T) through each unit.", SIZES),
    "binary": ("This is off by what lies between 1000 and 1024: GB and GiB are different units. Device memories are "
               "given in one, file sizes often in the other.", SIZES),
    "sign": ("The size is right, the sign is not: what is taken from what?", COSTS),
    "inverse": ("This is upside down, or a part of it is: something stands above the line of a fraction that belongs "
                "below it. What should the result do when it grows?", WAITING),
    "missing": ("Here {} is missing, or not counted often enough. Ask of each symbol: if it doubled, what would the "
                "result do?", COSTS),
    "extra": ("Here {} is counted too often. Ask of each symbol: if it doubled, would the result really "
              "change so?", COSTS),
    "swapped": ("Here {} have changed places, or one is written for another. Say in words what each letter "
                "counts.", COSTS),
    "squared": ("Here {} is counted twice: it appears squared where it belongs once.", COSTS),
    "serial": ("Here one waits for the other. Where both work at the same time, as loading and computing do with two "
               "buffers, only the slower of them counts for as long as both are busy.", BUFFERS),
    "overlapped": ("Here two things happen at the same time that must wait for each other. Without a second buffer, or "
                   "without overlap, their times add up.", BUFFERS),
    "minmax": ("Maximum and minimum are confused. Of two that run at the same time, which one decides when both are "
               "done?", WAITING),
    "regime": ("This is right in one regime only: as long as the same side is the larger. What if it is the other one?",
               WAITING),
    "fill": ("The beginning is missing: before the first tile can be computed it must have been loaded, and nothing "
             "can hide that.", BUFFERS),
    "drain": ("The end is missing: when the last tile has been loaded it still has to be computed (and stored), and "
              "nothing can hide that.", BUFFERS),
    "tile": ("This is off by one tile. Count the gaps between tiles, not the tiles: what do the first and the last one "
             "take?", BUFFERS),
    "rounding": ("This is right only where all divides exactly. Parts that are not full count, too, or do not: round "
                 "up what has to be covered, round down what has to fit.", MACS),
    "term:missing": ("One part of the sum is missing; the rest is right. Go through everything that is read, written "
                     "or kept, once more.", SIZES),
    "term:extra": ("One part of the sum is too much; the rest is right. Is everything here really needed, and counted "
                   "only once?", SIZES),
    "term:factor": ("One part of the sum is off by a constant factor; the rest is right. What is counted once too "
                    "often there, or not often enough?", SIZES),
    "padding": ("The padding is not right: how many rows does it add, and on how many sides?", COSTS),
    "off-by-one": ("This is off by one. Is the first or the last one counted, and should it be? Try it by hand with "
                   "the smallest numbers that make sense.", COSTS),
    "sum-for-product": ("Two numbers are added that have to be multiplied: for each of the one there are all of the "
                        "other.", COSTS),
    "product-for-sum": ("Two numbers are multiplied that have to be added: one comes after the other, not for each of "
                        "it.", COSTS),
}  # fmt: skip


def note(id: str, part: bool = False) -> Note:
    """The note of a general rule; `part`: it is about one part of the formula.

    >>> note("missing:r,s").message[:24]
    'Here r and s are missing'
    """
    kind, _, about = id.partition(":")
    message, see = REMARKS[id] if id in REMARKS else REMARKS[kind]
    words = _words(about)
    if "{}" in message and " and " in words:
        message = message.replace("{} is", "{} are")
    return Note(id, PART * part + message.replace("{}", words), see)


def _words(about: str) -> str:
    """`r,s^2` as words: r and s²."""
    *names, last = about.replace("^2", "²").replace("^3", "³").split(",")
    return f"{', '.join(names)} and {last}" if names else last
