"""Cables with a delay, for hosts.ts: python3 delay.py SECONDS NAME NAME [NAME NAME ...]

Creates TAP devices, and forwards each frame to the other device of its pair SECONDS after it was sent. Prints a line when
they exist; they vanish with the end of this program, at the end of its input.
"""

import fcntl
import os
import select
import struct
import sys
from collections import deque
from time import monotonic

# linux/if_tun.h
TUNSETIFF, TUNSETOFFLOAD = 0x400454CA, 0x400454D0
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
TUN_F_CSUM, TUN_F_TSO4 = 1, 2
# Segments of up to 64 KB pass undivided, with a header that says how the receiver counts them.
LARGEST = 66_000
# Frames that one device is read for before the others.
IN_A_ROW = 16


def open_tap(name):
    tap = os.open('/dev/net/tun', os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack('16sH22x', name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
    fcntl.ioctl(tap, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4)
    return tap


def forward(delay, other):
    # In the order of their times, because all wait equally long.
    waiting = deque()
    while True:
        timeout = max(0, waiting[0][0] - monotonic()) if waiting else None
        readable, _, _ = select.select([sys.stdin, *other], [], [], timeout)
        for tap in readable:
            if tap is sys.stdin:
                return
            for _ in range(IN_A_ROW):
                try:
                    frame = os.read(tap, LARGEST)
                except BlockingIOError:
                    break
                waiting.append((monotonic() + delay, other[tap], frame))
        while waiting and waiting[0][0] <= monotonic():
            _, tap, frame = waiting.popleft()
            try:
                os.write(tap, frame)
            except OSError:
                pass  # The device is down: the cable is cut.


delay, names = float(sys.argv[1]), sys.argv[2:]
# The processes that train use all cores, and a delay must not wait for one.
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
taps = [open_tap(name) for name in names]
print('ready', flush=True)
forward(delay, {tap: taps[i ^ 1] for i, tap in enumerate(taps)})
