"""Codes in fewer bits: each number of a code as one of a few values."""

import math

import torch
from torch import Tensor

MOST_BITS = 8  # of a number: an index is a byte


class Quantizer:
    """A uniform scalar quantiser for each number of a code (Gersho & Gray, Vector Quantization, 1992, chapter 5).

    The range of a number, `low` to `high`, float (code,), is cut into 2**bits cells of equal width, and the number
    becomes the middle of its cell. What lies outside of the range belongs to the cell at that end.
    """

    def __init__(self, low: Tensor, high: Tensor, bits: int) -> None:
        require_bits(bits)
        self.low, self.high, self.bits = low, high, bits
        self._width: Tensor = (high.double() - low.double()) / 2**bits

    def indices(self, codes: Tensor) -> Tensor:
        """Return the cell of each number, uint8 (N, code), of codes, finite, (N, code)."""
        above = (codes.double() - self.low.double()) / self._width.clamp_min(torch.finfo(torch.float64).tiny)
        return above.floor().clamp(0, 2**self.bits - 1).to(torch.uint8)

    def values(self, indices: Tensor) -> Tensor:
        """Return the middle of each cell, double (N, code), of indices, (N, code)."""
        return self.low.double() + (indices.double() + 0.5) * self._width


def require_bits(bits: object) -> None:
    """Raise ValueError for what is no number of bits."""
    if type(bits) is not int or not 1 <= bits <= MOST_BITS:
        raise ValueError(f"{bits} bits: must be whole numbers from 1 to {MOST_BITS}")


def entropy(indices: Tensor) -> float:
    """Return the entropy in bits of a code's indices, uint8 (N, code), each number by itself (Shannon, 1948).

    The table of frequencies is not counted. It is too low for few codes: n show at most log2(n) bits a number.
    """
    bits = 0.0
    for column in indices.T:
        shares = column.bincount().double() / len(indices)
        bits -= torch.xlogy(shares, shares).sum().item() / math.log(2)
    return max(bits, 0.0)
