"""Bytes that were flipped, cut, moved or written over, anywhere in a file."""

from hypothesis import strategies as st

PLACE = st.integers(
    -(2**31), 2**31
)  # modulo the length; small ones are likely: near the start or, if negative, the end
Damage = tuple[str, int, int, bytes]


@st.composite
def damages(draw: st.DrawFn) -> Damage:
    """A kind, two places and some bytes."""
    kind = draw(st.sampled_from(["flip", "cut", "insert", "remove", "swap", "overwrite"]))
    return kind, draw(PLACE), draw(PLACE), draw(st.binary(min_size=1, max_size=64))


def damaged(content: bytes, damage: Damage) -> bytes:
    kind, *places, new = damage
    one, other = sorted(place % len(content) for place in places)
    if kind == "flip":
        return content[:one] + bytes([content[one] ^ (new[0] or 1)]) + content[one + 1 :]
    if kind == "cut":
        return content[:one]
    if kind == "insert":
        return content[:one] + new + content[one:]
    if kind == "remove":
        return content[:one] + content[min(one + len(new), other) :]
    if kind == "overwrite":
        return content[:one] + new + content[one + len(new) :]
    size = min(other - one, len(content) - other, 4096)  # two blocks change places
    blocks = content[other : other + size], content[one : one + size]
    return content[:one] + blocks[0] + content[one + size : other] + blocks[1] + content[other + size :]
