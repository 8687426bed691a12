"""A NOYITO board with two relays, without hardware: a raw pseudo terminal that switches and answers as it does.

Argument: where the link to it goes. Each frame that it hears goes to the file of that name with `.heard`
behind, as a line of hexadecimal digits. Ends with its standard input.
"""

import os
import pty
import select
import sys
import tty

link = sys.argv[1]
master, slave = pty.openpty()
tty.setraw(slave)
relays = {1: False, 2: False}
with open(link + ".heard", "w", buffering=1) as heard:
    os.symlink(os.ttyname(slave), link)
    data = b""
    while True:
        readable, _, _ = select.select([master, sys.stdin], [], [])
        if sys.stdin in readable:
            break
        data += os.read(master, 4096)
        while data:
            length = 1 if data[0] == 0xFF else 4
            if len(data) < length:
                break
            frame, data = data[:length], data[length:]
            heard.write(frame.hex() + "\n")
            if frame == b"\xff":
                lines = [f"CH{channel}:{'ON' if on else 'OFF'}\r\n" for channel, on in relays.items()]
                os.write(master, "".join(lines).encode())
            elif frame[0] == 0xA0 and sum(frame[:3]) & 0xFF == frame[3]:
                relays[frame[1]] = frame[2] == 1
