"""Clips of video as tests make them: faces from the embedded set that move, encoded by PyAV."""

import struct
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
from PIL import Image


@cache
def _faces():
    from pd.config import DataSettings
    from pd.dataset.decode import decode, load
    from pd.dataset.readers.faces import faces

    people = {}
    for row in faces().rows():
        people.setdefault(row.identity, []).append(
            decode(load(row.data, DataSettings()), DataSettings(size=64)).pixels[:, :, 0]
        )
    return [people[name] for name in sorted(people)]


def moving(person=0, seconds=2.0, fps=25.0, width=160, height=120, side=72, seed=0):
    """(T, H, W, 3) uint8: a face of the embedded set that sways smoothly over a gradient."""
    chance = np.random.default_rng([person, seed])
    face = Image.fromarray(_faces()[person][seed % 10]).resize((side, side), Image.Resampling.BICUBIC)
    ground = np.linspace(60, 180, width, dtype=np.float32)[None, :].repeat(height, 0).astype(np.uint8)
    phase, speed = chance.uniform(0, 6.28, 2), chance.uniform(0.6, 1.4, 2)
    made = []
    for index in range(round(seconds * fps)):
        t = index / fps
        x = (width - side) / 2 + 0.25 * (width - side) * np.sin(6.28 * speed[0] * t + phase[0])
        y = (height - side) / 2 + 0.25 * (height - side) * np.sin(6.28 * speed[1] * t + phase[1])
        turned = face.rotate(8 * np.sin(4 * t + phase[1]), Image.Resampling.BICUBIC, fillcolor=110)
        frame = Image.fromarray(ground)
        frame.paste(turned, (round(x), round(y)))
        made.append(np.asarray(frame.convert("RGB")))
    return np.stack(made)


def encode(path, frames, fps=25, times=None, codec="mpeg4", sound=False, gop=None):
    """Write frames, (T, H, W, 3) uint8, as a video; `times` in seconds, for a variable rate; a whole picture every `gop`."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps) if frames is not None else None
        if stream is not None:
            stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
            stream.bit_rate = 4_000_000
            if gop is not None:
                stream.codec_context.gop_size = gop
            stream.codec_context.time_base = Fraction(1, 1000) if times else Fraction(1, int(fps))
            for index, pixels in enumerate(frames):
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                frame.time_base = stream.codec_context.time_base
                frame.pts = round(times[index] * 1000) if times else index
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        if sound:
            track = container.add_stream("aac", rate=16000)
            track.layout = "mono"
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
            silence.sample_rate, silence.pts, silence.time_base = 16000, 0, Fraction(1, 16000)
            for packet in [*track.encode(silence), *track.encode()]:
                container.mux(packet)
    return path


def turn(path):
    """Write into an MP4 that it is to be shown turned by a quarter, clockwise, as phones that are held upright do."""
    data = bytearray(Path(path).read_bytes())
    at = data.index(b"tkhd") + 4 + 4 + 20 + 16  # version and flags, times and ids, layer to volume
    data[at : at + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    Path(path).write_bytes(data)


def world(folder, people=4, clips=2, **how):
    """`folder/pNN/clipN.mp4`."""
    for person in range(people):
        for number in range(clips):
            encode(Path(folder, f"p{person:02}", f"clip{number}.mp4"), moving(person, seed=number, **how))
    return Path(folder)
