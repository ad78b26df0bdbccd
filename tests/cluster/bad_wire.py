"""A wire that is slow and loses frames, for kernels without netem: it passes Ethernet frames on between two devices.

    python bad_wire.py DEVICE OTHER SECONDS LOSS     passes on each frame after SECONDS, but for the share LOSS of them
    python bad_wire.py DEVICE                        lets a device send whole frames with their checksums, and ends

The second is for what sends into the wire: between virtual devices the kernel leaves checksums and the cutting into frames
to hardware, and there is none.
"""

import array
import fcntl
import select
import socket
import struct
import sys
import time
from collections import deque
from contextlib import suppress
from random import Random

_ALL = 3  # ETH_P_ALL
_IGNORE_OUTGOING = 23  # of SOL_PACKET
_SIOCETHTOOL = 0x8946
_OFF = (0x17, 0x1F, 0x24, 0x19)  # checksums, TSO, GSO, scatter-gather


def whole_frames(device: str) -> None:
    """Let a device of this network namespace leave nothing to hardware."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for command in _OFF:
            value = array.array("B", struct.pack("II", command, 0))
            with suppress(OSError):  # it has no such thing
                fcntl.ioctl(any_socket, _SIOCETHTOOL, struct.pack("16sP", device.encode(), value.buffer_info()[0]))


def pass_on(device: str, other: str, seconds: float, loss: float) -> None:
    """Until this process is killed."""
    ends = {}
    for name in (device, other):
        end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL))
        end.setsockopt(263, _IGNORE_OUTGOING, 1)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**23)
        end.bind((name, 0))
        ends[name] = end
    toward = {ends[device]: ends[other], ends[other]: ends[device]}
    chance, under_way = Random(7), deque()
    while True:
        left = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
        for end in select.select(list(toward), [], [], left)[0]:
            frame = end.recv(2**16)
            if chance.random() >= loss:
                under_way.append((time.monotonic() + seconds, toward[end], frame))
        while under_way and under_way[0][0] <= time.monotonic():
            _, end, frame = under_way.popleft()
            with suppress(OSError):  # as a full queue would, it loses the frame
                end.send(frame)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        whole_frames(sys.argv[1])
    else:
        pass_on(sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4]))
