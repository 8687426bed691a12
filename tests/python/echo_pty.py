"""A serial device without hardware: a raw pseudo terminal that echoes what it reads.

Argument: where the link to it goes. Says `ready` when it is there, and ends with its standard input.
"""

import os
import pty
import select
import sys
import tty

master, slave = pty.openpty()
tty.setraw(slave)
os.symlink(os.ttyname(slave), sys.argv[1])
print("ready", flush=True)
while True:
    readable, _, _ = select.select([master, sys.stdin], [], [])
    if sys.stdin in readable:
        break
    data = os.read(master, 4096)
    while data:
        data = data[os.write(master, data) :]
