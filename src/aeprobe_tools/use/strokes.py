"""A digit among what else is on its picture: ruled lines, dots, the side of a frame, a neighbour's stroke.

The page of `aeprobe playground` does the same in JavaScript (assets/playground/strokes.js): change both.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.float32]
Mask = NDArray[np.bool_]
STROKES = (0.15, 0.25, 0.4)  # of full ink: a pixel with more of it belongs to a stroke
LEAST = 0.15  # of the picture's longer side: a smaller piece is no digit
FULL = 0.8  # of a row's pixels are those of a line that crosses the picture
LINED = 40  # pixels of a side from which on such lines are looked for


class Piece(NamedTuple):
    """Pixels of strokes that touch each other: their box, and how many they are."""

    top: int
    bottom: int
    left: int
    right: int
    area: int

    @property
    def height(self) -> int:
        """The rows of its box."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """The columns of its box."""
        return self.right - self.left

    @property
    def size(self) -> int:
        """The longer side of its box, in pixels."""
        return max(self.height, self.width)


def strong(ink: Grey) -> float:
    """Return the value of full ink: nearly the largest."""
    return float(np.quantile(ink[ink > ink.max() / 2], 0.9))


def digit_alone(ink: Grey, faint: float) -> Grey:
    """Return the ink of a digit, and 0 for lines and objects beside it; less ink than `faint` is none."""
    for share in STROKES:
        mask = ink > share * strong(ink)
        if not _divided(mask)[1].any():
            return _near(mask, ink)
    for _ in range(4):  # without what is darker than the digit, more of the digit's own ink counts as full
        mask, gone = _divided(ink > STROKES[1] * strong(ink))
        rest = np.where(_grown(gone, 2) & ~_grown(mask, 1), np.float32(0), ink)
        if not gone.any() or rest.max() < faint:
            break
        ink = rest
    return _near(mask, ink)


def _near(mask: Mask, ink: Grey) -> Grey:
    """Return the ink on a mask and close to it, where strokes fade; 0 elsewhere."""
    return np.where(_grown(mask, min(max(max(mask.shape) // 28, 1), 3)), ink, np.float32(0))


def _divided(mask: Mask) -> tuple[Mask, Mask]:
    """Divide a mask into the digit, and what is none of it."""
    labels, pieces = _pieces(mask)
    foreign = _at_the_edge(pieces, *mask.shape)
    if not foreign and (lines := _lines(mask) | _lines(mask.T).T).any():  # the digit may touch one
        labels, pieces = _pieces(mask & ~lines)
        foreign = _at_the_edge(pieces, *mask.shape)
    foreign = foreign or _beside(pieces, max(mask.shape)) or _scattered(pieces)
    digit = (labels > 0) & ~np.isin(labels, [1 + i for i in foreign])
    return digit, mask & ~digit


def _lines(mask: Mask) -> Mask:
    """Mark lines that cross the picture along its rows, but where a longer column of stroke goes through them."""
    height, found = len(mask), np.zeros_like(mask)
    full = np.flatnonzero(mask.mean(1) >= FULL)
    if height < LINED or not 0 < len(full) < height / 2:
        return found
    thick = _run_before(mask) + _run_before(mask[::-1])[::-1] - 1
    for line in np.split(full, np.flatnonzero(np.diff(full) > 1) + 1):
        if len(line) <= max(3, height // 20):
            around = slice(max(line[0] - 1, 0), line[-1] + 2)
            found[around] |= thick[around] <= len(line) + 2
    return found


def _run_before(mask: Mask) -> NDArray[np.int64]:
    """Return how many marked pixels stand in a column down to each one, itself included."""
    run, runs = np.zeros(mask.shape[1], np.int64), []
    for row in mask:
        run = (run + 1) * row
        runs.append(run)
    return np.stack(runs)


def _pieces(mask: Mask) -> tuple[NDArray[np.int32], list[Piece]]:
    """Number the pieces of a mask from 1; return each pixel's number, and the pieces. Corners touch, too."""
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8))
    rows, starts = (places.tolist() for places in (edges == 1).nonzero())
    ends = (edges == -1).nonzero()[1].tolist()  # of the runs of marked pixels, row after row
    parents = [*range(len(rows))]

    def root(run: int) -> int:
        while parents[run] != run:
            parents[run] = run = parents[parents[run]]
        return run

    above, first = 0, np.searchsorted(rows, np.arange(len(mask) + 1)).tolist()
    for row in range(1, len(mask)):
        above, run = first[row - 1], first[row]
        while above < first[row] and run < first[row + 1]:
            if starts[above] <= ends[run] and starts[run] <= ends[above]:
                one, other = sorted((root(above), root(run)))
                parents[other] = one
            if ends[above] < ends[run]:
                above += 1
            else:
                run += 1
    labels, boxes, numbers = np.zeros(mask.shape, np.int32), list[Piece](), dict[int, int]()
    for run, (row, start, end) in enumerate(zip(rows, starts, ends, strict=True)):
        number = numbers.setdefault(root(run), len(numbers))
        labels[row, start:end] = 1 + number
        if number == len(boxes):
            boxes.append(Piece(row, row + 1, start, end, end - start))
        else:
            top, _, left, right, area = boxes[number]
            boxes[number] = Piece(top, row + 1, min(left, start), max(right, end), area + end - start)
    return labels, boxes


def _at_the_edge(pieces: Sequence[Piece], height: int, width: int) -> list[int]:
    """Return the places of pieces that touch the picture's edge, if one that may be a digit does not."""
    inside = [p.top > 0 and p.left > 0 and p.bottom < height and p.right < width for p in pieces]
    large = any(within and p.size >= LEAST * max(height, width) for p, within in zip(pieces, inside, strict=True))
    return [i for i, within in enumerate(inside) if large and not within]


def _beside(pieces: Sequence[Piece], side: int) -> list[int]:
    """Return the places of lines around the other large pieces, or beside them."""
    large = [piece for piece in pieces if piece.size >= LEAST * side]
    return [
        i for i, p in enumerate(pieces) if p in large and _is_beside(p, [q for q in large if q is not p], side)
    ]


def _is_beside(piece: Piece, others: Sequence[Piece], side: int) -> bool:
    """Tell axes or a frame around the others, a line below or above them, and one at their left or right."""
    if not others:
        return False
    top, bottom = min(other.top for other in others), max(other.bottom for other in others)
    left, right = min(other.left for other in others), max(other.right for other in others)
    if piece.area < 0.12 * piece.height * piece.width and any(_is_within(other, piece) for other in others):
        return True
    if piece.width >= 6 * piece.height:
        longer = piece.width > 1.3 * (right - left)
        return piece.top >= bottom - 2 or (longer and piece.bottom <= top + 2)
    away = max(left - piece.right, piece.left - right) >= 0.05 * side
    return away and piece.height >= max(8 * piece.width, 1.15 * (bottom - top), 0.6 * side)


def _is_within(piece: Piece, other: Piece) -> bool:
    rows = other.top <= piece.top and piece.bottom <= other.bottom
    return rows and other.left <= piece.left and piece.right <= other.right


def _scattered(pieces: Sequence[Piece]) -> list[int]:
    """Return the places of pieces far from the largest one and from those near it; dots must be nearer."""
    if len(pieces) < 2:
        return []
    main = max(range(len(pieces)), key=lambda i: (pieces[i].size, pieces[i].area))
    near, far = [pieces[main]], [i for i in range(len(pieces)) if i != main]
    while True:
        rows = max(p.bottom for p in near) - min(p.top for p in near)
        size = max(rows, max(p.right for p in near) - min(p.left for p in near))
        for i in far:
            reach = (0.25 if pieces[i].size >= 0.25 * pieces[main].size else 0.08) * size
            if min(_gap(pieces[i], piece) for piece in near) <= reach:
                near.append(pieces[i])
                far.remove(i)
                break
        else:
            return far


def _gap(piece: Piece, other: Piece) -> int:
    """Return the distance of two boxes along the axis where it is larger, in pixels."""
    across = max(piece.left - other.right, other.left - piece.right)
    return max(across, piece.top - other.bottom, other.top - piece.bottom, 0)


def _grown(mask: Mask, reach: int) -> Mask:
    """Mark the neighbours of marked pixels too, up to so many rows and columns away."""
    for axis in (0, 1):
        padded = np.pad(mask, [(reach * (i == axis),) * 2 for i in (0, 1)])
        length = mask.shape[axis]
        mask = np.any([padded.take(range(i, i + length), axis) for i in range(2 * reach + 1)], axis=0)
    return mask
