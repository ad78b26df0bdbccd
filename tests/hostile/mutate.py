"""Bytes and words that mean harm, from a random generator: the same generator gives the same input."""

import struct
import zlib

import numpy as np

WORDS = (
    *("../secret.png", "link.png", "a/../../secret.png", "/etc/passwd", "file:///etc/passwd", "https://h/x.png", "data:,x"),
    *(
        "C:\\x.png",
        "\\\\host\\x.png",
        "..\\secret.png",
        "~/x.png",
        "%2e%2e/secret.png",
        ".",
        "..",
        "/",
        "",
        " ",
        "\0",
        "a\0.png",
    ),
    *("\x1b[2J\x1b]0;x\x07", "\x9b31m", "\r\n", "\u202egnp.exe", "\u2066x\u2069", "\ufeffx", "\u200d", "e\u0301" * 9, "💥"),
    *("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "]]>", "-->", "{{ 7 * 7 }}", "{% raw %}", "[red]", "[/]"),
    *("[link=x]", "=1+1", "$(id)", "`id`", "%s%n", "nan", "inf", "-1", "1e999", "9" * 5000, "2020-99-99", "null", "true", "0x"),
    *("x" * 300, "/".join("a" * 300), "y" * 20_000, "&a [*a]", "!!python/object:os.system", "? [a]", "[" * 500, "- " * 300),
)
NUMBERS = (0, 1, -1, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63 - 1)


def word(rng: np.random.Generator) -> str:
    """One of WORDS, two of them together, or characters by chance."""
    kind = rng.integers(10)
    if kind < 6:
        return WORDS[rng.integers(len(WORDS))]
    if kind < 8:
        return WORDS[rng.integers(len(WORDS))] + WORDS[rng.integers(len(WORDS))]
    codes = rng.integers(1, rng.choice([128, 0x3000, 0xD800]), rng.integers(1, 20))
    return "".join(map(chr, codes))


def mutated(data: bytes, rng: np.random.Generator, others: list[bytes] | None = None) -> bytes:
    """The bytes with one to eight things wrong."""
    found = bytearray(data)
    for _ in range(rng.integers(1, 9)):
        if not found:
            return bytes(rng.bytes(rng.integers(1, 64)))
        where, length = _place(len(found), rng), int(rng.integers(1, 33))
        match rng.integers(9):
            case 0:
                found[where] ^= 1 << int(rng.integers(8))
            case 1 | 2:
                found[where] = rng.integers(256)
            case 3 | 4:
                number, size = NUMBERS[rng.integers(len(NUMBERS))], int(rng.choice([1, 2, 4, 8]))
                order = "little" if rng.integers(2) else "big"
                found[where : where + size] = (number % 256**size).to_bytes(size, order)
            case 5:
                del found[where : where + length]
            case 6:
                found[where:where] = found[where : where + length] * int(rng.integers(1, 4))
            case 7:
                found[where:where] = rng.bytes(length)
            case _:
                other = (others or [data])[rng.integers(len(others or [data]))]
                cut = _place(len(other), rng) if other else 0
                found = found[:where] + other[cut:] if rng.integers(2) else found[: max(where, 1)]
    return bytes(found)


def _place(size: int, rng: np.random.Generator) -> int:
    """Anywhere; more often in the first or last 64 bytes, where headers are."""
    near = int(rng.integers(min(size, 64)))
    return int([near, size - 1 - near, rng.integers(size)][rng.integers(3)])


def sound_png(data: bytes) -> bytes:
    """A PNG whose checksums fit again, so that what is wrong with it gets past them."""
    out, at = bytearray(data[:8]), 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        body = data[at + 4 : at + 8 + length]
        out += data[at : at + 4] + body + struct.pack(">I", zlib.crc32(body))
        at += 12 + length
    return bytes(out + data[at:])


def sound_tar(data: bytes) -> bytes:
    """A tar whose blocks that could be headers have a sum that fits again."""
    out = bytearray(data)
    for at in range(0, len(out) - 511, 512):
        block = out[at : at + 512]
        if block[257:262] == b"ustar":
            block[148:156] = b" " * 8
            out[at + 148 : at + 156] = b"%06o\0 " % sum(block)
    return bytes(out)
