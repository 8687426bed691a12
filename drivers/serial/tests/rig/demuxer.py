#!/usr/bin/env python3
"""Stands for the demuxer of a Tegra board: a pseudo-terminal for each target, which gives back what it is sent, after the target's name.

It is started as a link in a directory of the test's own. Files there say how it behaves: `locked` as when another one has the
device, `stubborn` that it does not listen to SIGTERM, `targets` which there are. It adds a line to `runs`.
"""

import os
import pathlib
import select
import signal
import sys
import time
import tty

here = pathlib.Path(sys.argv[0]).parent
with open(here / "runs", "a") as runs:
    print(os.getpid(), *sys.argv[1:], file=runs)

if (here / "stubborn").exists():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if (here / "locked").exists():
    print("ERROR: unable to obtain file lock", file=sys.stderr, flush=True)
    time.sleep(600)

print("demuxer 1.0", flush=True)
masters = {}
for target in (here / "targets").read_text().splitlines():
    master, slave = os.openpty()
    tty.setraw(slave)
    masters[master] = target
    print(f"{os.ttyname(slave)}\t{target}", flush=True)

while True:
    for master in select.select(masters, [], [])[0]:
        os.write(master, f"{masters[master]}: ".encode() + os.read(master, 1024))
