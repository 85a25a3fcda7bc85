"""Pictures of a digit as people make them: from an image of MNIST, by a generator; each function is one kind."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageOps
from skimage.morphology import skeletonize

Pixels = NDArray[np.uint8]
Random = np.random.Generator
COLOURS = [((220, 40, 40), (40, 90, 200)), ((200, 60, 60), (40, 140, 60)), ((230, 140, 40), (150, 150, 150))]
LIGHT = np.array([0.299, 0.587, 0.114])  # how bright red, green and blue are


def enlarged(digit: Pixels, random: Random) -> Image.Image:
    """Enlarge it, light on black."""
    side = 28 * int(random.integers(3, 21))
    return Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC)


def inverted(digit: Pixels, random: Random) -> Image.Image:
    """Enlarge it, black on white."""
    return ImageOps.invert(enlarged(digit, random))


def moved(digit: Pixels, random: Random) -> Image.Image:
    """Put it somewhere on a larger ground."""
    drawn = enlarged(digit, random)
    width, height = (int(n * random.uniform(1.2, 3)) for n in drawn.size)
    ground = Image.new("L", (width, height))
    ground.paste(drawn, (int(random.integers(width - drawn.width)), int(random.integers(height - drawn.height))))
    return ground if random.random() < 0.5 else ImageOps.invert(ground)


def outlined(digit: Pixels, random: Random) -> Image.Image:
    """Draw a rectangle around it."""
    drawn = ImageOps.expand(inverted(digit, random).resize((280, 280)), int(random.integers(5, 40)), 255)
    inset = int(random.integers(0, 12))
    corners = (inset, inset, drawn.width - 1 - inset, drawn.height - 1 - inset)
    dark, wide = int(random.integers(130)), int(random.integers(1, 12))
    ImageDraw.Draw(drawn).rectangle(corners, outline=dark, width=wide)
    return drawn


def framed(digit: Pixels, random: Random) -> Image.Image:
    """Put a line around it."""
    drawn = Image.fromarray(digit)
    light = random.random() < 0.5
    return ImageOps.expand(drawn if light else ImageOps.invert(drawn), int(random.integers(1, 4)), 255 * light)


def paper(
    digit: Pixels, random: Random, ground: float = 235, ink: float = 60, slope: float = 60, noise: float = 8
) -> Image.Image:
    """Write it on unevenly lit, rough paper, out of focus."""
    drawn = np.asarray(ImageOps.contain(moved(digit, random), (400, 400)), np.float32) / 255
    drawn = 1 - drawn if np.median(drawn) > 0.5 else drawn
    height, width = drawn.shape
    down, across = np.mgrid[-0.5 : 0.5 : height * 1j, -0.5 : 0.5 : width * 1j]
    one, other = random.uniform(-slope, slope, 2)
    sheet = ground - abs(one) / 2 - abs(other) / 2 + one * down + other * across
    photo = sheet * (1 - drawn) + ink * drawn + random.normal(0, noise, drawn.shape)
    return Image.fromarray(photo.clip(0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(1))


def rough(digit: Pixels, random: Random) -> Image.Image:
    """Draw it on rougher paper."""
    return paper(digit, random, noise=20)


def board(digit: Pixels, random: Random) -> Image.Image:
    """Write it in chalk."""
    return paper(digit, random, ground=70, ink=220, slope=30)


def sheet(digit: Pixels, random: Random) -> Image.Image:
    """Put its paper on a dark table."""
    return ImageOps.expand(paper(digit, random, slope=20, noise=5), 30, int(random.integers(100)))


def written(
    digit: Pixels, random: Random, ground: float = 235, ink: float = 40, noise: float = 6
) -> tuple[NDArray[np.float64], int]:
    """Return ink on paper with room around it, floats to 255, and the side of the digit's image in pixels."""
    side = 28 * int(random.integers(5, 12))
    drawn = np.asarray(Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC)) / 255
    height, width = (int(side * random.uniform(1.3, 2)) for _ in range(2))
    place = np.zeros((height, width))
    top, left = int(random.integers(height - side)), int(random.integers(width - side))
    place[top : top + side, left : left + side] = drawn
    return ground * (1 - place) + ink * place + random.normal(0, noise, place.shape), side


def photo(values: NDArray[np.float64]) -> Image.Image:
    """Return values to 255 as a picture."""
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def object_at_an_edge(digit: Pixels, random: Random) -> Image.Image:
    """Put another object along one edge."""
    picture, _ = written(digit, random)
    turns, share = int(random.integers(4)), random.uniform(0.03, 0.12)
    turned = np.rot90(picture, turns)
    turned[: int(share * len(turned))] = random.integers(20, 120)
    return photo(np.rot90(turned, -turns))


def white_spot(digit: Pixels, random: Random) -> Image.Image:
    """Put a white spot beside it, on grey paper."""
    picture, side = written(digit, random, ground=150, ink=90, noise=3)
    wide, empty = side // 12, False
    while not empty:
        top, left = (int(random.integers(length - wide)) for length in picture.shape)
        empty = picture[top : top + wide, left : left + wide].min() > 125
    drawn = photo(picture)
    ImageDraw.Draw(drawn).ellipse([left, top, left + wide, top + wide], fill=255)
    return drawn


def margin_line(digit: Pixels, random: Random) -> Image.Image:
    """Draw a line at its left."""
    picture, side = written(digit, random)
    height, end = len(picture), int(random.integers(len(picture) // 12))
    picture = np.hstack([random.normal(235, 6, (height, side // 2)), picture])
    left = int(random.integers(4, 8))
    picture[end : height - end, left : left + int(random.integers(1, 5))] = random.integers(20, 150)
    return photo(picture)


def four_dots(digit: Pixels, random: Random) -> Image.Image:
    """Put a dot into each corner."""
    drawn = photo(written(digit, random)[0])
    for top in (8, drawn.height - 14):
        for left in (8, drawn.width - 14):
            ImageDraw.Draw(drawn).ellipse([left, top, left + 6, top + 6], fill=30)
    return drawn


def underlined(digit: Pixels, random: Random) -> Image.Image:
    """Draw a line below it."""
    picture, side = written(digit, random)
    picture = np.vstack([picture, random.normal(235, 6, (side // 3, picture.shape[1]))])
    rows, columns = (np.flatnonzero((picture < 130).any(axis)) for axis in (1, 0))
    top, ends = int(rows[-1] + side * random.uniform(0.04, 0.15)), (side * random.uniform(0, 0.3, 2)).astype(int)
    line = slice(max(columns[0] - ends[0], 0), columns[-1] + ends[1])
    picture[top : top + int(random.integers(2, 7)), line] = random.integers(30, 110)
    return photo(picture)


def ruled(digit: Pixels, random: Random, dark: int = 130) -> Image.Image:
    """Write it on ruled paper."""
    picture, side = written(digit, random, ground=225)
    step, wide = int(side * random.uniform(0.35, 0.8)), int(random.integers(1, 4))
    for top in range(int(random.integers(step)), len(picture), step):
        line = picture[top : top + wide]
        line[:] = np.minimum(line, random.normal(dark, 6, line.shape))
    return photo(picture)


def lightly_ruled(digit: Pixels, random: Random) -> Image.Image:
    """Write it on paper that is ruled in a light grey."""
    return ruled(digit, random, 190)


def squared(digit: Pixels, random: Random) -> Image.Image:
    """Write it on squared paper."""
    picture, side = written(digit, random, ground=225)
    step, wide = int(side * random.uniform(0.15, 0.4)), int(random.integers(1, 3))
    dark = int(random.integers(130, 195))
    for lines in (picture, picture.T):
        for top in range(int(random.integers(step)), len(lines), step):
            lines[top : top + wide] = np.minimum(lines[top : top + wide], dark)
    return photo(picture)


def coloured(digit: Pixels, random: Random) -> Image.Image:
    """Write it in a colour, on another one of the same brightness."""
    ink, ground = (np.array(colour, float) for colour in COLOURS[random.integers(len(COLOURS))])
    ground = (ground * (ink @ LIGHT) / (ground @ LIGHT)).clip(0, 255)
    drawn = written(digit, random, ground=0, ink=1, noise=0)[0][..., None]
    picture = ground * (1 - drawn) + ink * drawn
    return photo(picture + random.normal(0, 4, picture.shape))


def thin_pen(digit: Pixels, random: Random) -> Image.Image:
    """Draw it one pixel wide, on 200 x 200."""
    drawn = np.asarray(Image.fromarray(digit).resize((140, 140), Image.Resampling.BICUBIC)) > 127
    above, left = random.integers(61, size=2)
    rows, columns = (above, 60 - above), (left, 60 - left)
    return photo(np.pad(255.0 * ~skeletonize(drawn), (rows, columns), constant_values=255))


def sheet_on_white(digit: Pixels, random: Random) -> Image.Image:
    """Put its grey sheet on a white ground."""
    return ImageOps.expand(photo(written(digit, random, ground=200, ink=50)[0]), int(random.integers(15, 40)), 255)


def plotted(digit: Pixels, random: Random) -> Image.Image:
    """Put it between the axes of a plot."""
    picture = np.pad(written(digit, random, ground=255, ink=0, noise=0)[0], 30, constant_values=255)
    picture[25:-25, 25:27] = picture[-27:-25, 25:-25] = 0
    picture[40:-30:30, 18:25] = picture[-25:-18, 40:-30:30] = 0
    return photo(picture)


def faint(digit: Pixels, random: Random) -> Image.Image:
    """Write it in faint ink."""
    return photo(written(digit, random, ink=215, noise=2)[0])


EASY = (enlarged, inverted, moved, outlined, framed, paper, rough, board, sheet, sheet_on_white, plotted, faint)
OBJECTS = (object_at_an_edge, white_spot, margin_line, four_dots)
LINES = (underlined, ruled, lightly_ruled, squared)
KINDS = {**dict.fromkeys(EASY, 0.98), **dict.fromkeys(OBJECTS, 0.97), **dict.fromkeys(LINES, 0.93)}
KINDS |= {coloured: 0.97, thin_pen: 0.95}  # the share of digits that stay as right as they were
