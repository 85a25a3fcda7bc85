"""A convolutional network around the code, for images of any size."""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from aeprobe.models.networks import ACTIVATIONS, require_word


class ConvAutoencoder(nn.Module):
    """Each layer of the encoder halves the height and the width; the decoder mirrors it.

    A linear layer makes the code of what is left of the image, and another one the reverse.

    Args:
        shape: of an image: channels, height and width.
        channels: of the convolutions' outputs, from the first to the last.
        code: how many numbers an image becomes.
        activation: after each convolution, a class of torch.nn; none follows the code, a Sigmoid ends the decoder.
    """

    def __init__(
        self, shape: Sequence[int], channels: Sequence[int], code: int = 30, activation: str = "ReLU"
    ) -> None:
        super().__init__()
        require_word("activation", activation, ACTIVATIONS)
        if not channels or not all(type(number) is int and 1 <= number <= 2**16 for number in (*channels, code)):
            raise ValueError(f"channels={[*channels]} code={code}: must be numbers from 1 to {2**16}")
        sizes = [tuple(shape[1:])]
        for _ in channels:
            if max(sizes[-1]) == 1:
                raise ValueError(
                    f"channels={[*channels]}: an image of {shape[1]} x {shape[2]} is a single pixel after "
                    f"{len(sizes) - 1} layers; give as many or fewer"
                )
            sizes.append(tuple(-(-side // 2) for side in sizes[-1]))
        act, widths = getattr(nn, activation), [shape[0], *channels]
        last = (widths[-1], *sizes[-1])
        down: list[nn.Module] = []
        for before, after in pairwise(widths):
            down += [nn.Conv2d(before, after, 3, stride=2, padding=1), act()]
        self.encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(math.prod(last), code))
        up: list[nn.Module] = [nn.Linear(code, math.prod(last)), act(), nn.Unflatten(1, last)]
        for (before, after), (_, size) in zip(pairwise(widths[::-1]), pairwise(sizes[::-1]), strict=True):
            even = 1 - size[0] % 2, 1 - size[1] % 2  # where halving has not rounded up
            up += [nn.ConvTranspose2d(before, after, 3, stride=2, padding=1, output_padding=even), act()]
        self.decoder = nn.Sequential(*up[:-1], nn.Sigmoid())
