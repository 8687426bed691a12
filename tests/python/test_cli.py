"""The client's own command line, as a shell user types it."""

import os
import pty
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from threading import Timer

import pexpect
import pytest
from jumpstarter_driver_network.adapters import PexpectAdapter
from pexpect.fdpexpect import fdspawn

from board import LOGIN, PROMPT, image_digest, log_in
from images import MIB, digest, image
from waiting import until

J = str(Path(sys.executable).with_name("j"))


def j(*args, **options):
    done = subprocess.run([J, *args], capture_output=True, text=True, timeout=60, **options)
    assert done.returncode == 0, f"j {' '.join(args)} gave {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def console(client):
    with PexpectAdapter(client=client.dutlink.console) as console:
        yield console


@pytest.fixture
def booted(client, console, work):
    """A board at its login prompt; gives the digest of its image."""
    path, digest = image(work / "booted.img", 2 * MIB)
    client.dutlink.storage.write_local_file(path)
    client.dutlink.storage.dut()
    client.dutlink.power.on()
    console.expect_exact(LOGIN)
    return digest


def test_help_lists_the_tree():
    assert re.search(r"^\s+dutlink\b", j("--help"), re.M)
    dutlink = j("dutlink", "--help")
    for name in ["power", "storage", "console"]:
        assert re.search(rf"^\s+{name}\b", dutlink, re.M), dutlink


def test_help_lists_the_commands():
    for instance, commands in {
        "power": ["on", "off", "cycle", "read"],
        "storage": ["host", "dut", "off", "flash", "dump"],
        "console": ["start-console", "pipe"],
    }.items():
        text = j("dutlink", instance, "--help")
        for command in commands:
            assert re.search(rf"^\s+{command}\b", text, re.M), text


def test_power_on(console):
    j("dutlink", "power", "on")
    console.expect("No bootable medium found")


def test_power_off(client, console, booted):
    j("dutlink", "power", "off")
    log_gone = console.expect_exact([PROMPT, pexpect.TIMEOUT], timeout=0.5)
    console.sendline("root")
    assert log_gone == 1
    assert console.expect_exact([PROMPT, pexpect.TIMEOUT], timeout=1) == 1, "the board answers without power"


def test_power_cycle(console, booted):
    assert "cycling" in j("dutlink", "power", "cycle", "--wait", "0")
    log_in(console)
    assert image_digest(console) == booted


def test_power_read():
    """The meter is read until the user has seen enough."""
    j("dutlink", "power", "on")
    process = subprocess.Popen([J, "dutlink", "power", "read"], stdout=subprocess.PIPE, text=True)
    end = Timer(60, process.kill)
    end.start()
    try:
        reading = re.match(r"voltage=(\S+) V  current=(\S+) A", process.stdout.readline())
        assert reading
        assert all(float(number) > 0 for number in reading.groups()), "a board that is on draws power"
    finally:
        end.cancel()
        process.kill()
        process.communicate()


def test_storage_host():
    j("dutlink", "storage", "host")


def test_storage_dut():
    j("dutlink", "storage", "dut")


def test_storage_off(console, work, client):
    path, _ = image(work / "off.img", MIB)
    client.dutlink.storage.write_local_file(path)
    j("dutlink", "storage", "off")
    client.dutlink.power.on()
    console.expect_exact("No bootable medium found")


def test_storage_flash(client, console, work):
    path, digest = image(work / "flashed.img", 2 * MIB)
    j("dutlink", "storage", "flash", str(path))
    j("dutlink", "power", "on")
    log_in(console)
    assert image_digest(console) == digest


def test_storage_flash_compressed(client, console, work):
    import lzma

    data = os.urandom(2 * MIB)
    (work / "flashed.img.xz").write_bytes(lzma.compress(data, preset=0))
    j("dutlink", "storage", "flash", "--compression", "xz", str(work / "flashed.img.xz"))
    j("dutlink", "power", "on")
    log_in(console)
    assert image_digest(console) == digest(data)


def log_in_again(console):
    """The board has shown its prompt already; a newline makes it show another."""
    console.sendline("")
    log_in(console)


@contextmanager
def pipe(*flags, say):
    """`j dutlink console pipe` until the block ends; gives a function that tells all that it printed.

    It reads its input in blocks of 1 KiB, so that a short one is on its way only after its end.
    """
    process = subprocess.Popen(
        [J, "dutlink", "console", "pipe", *flags],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    os.set_blocking(process.stdout.fileno(), False)
    seen = bytearray()

    def output():
        seen.extend(process.stdout.read() or b"")
        assert process.poll() is None, "it reads on after the end of its input"
        return seen.decode(errors="replace")

    try:
        process.stdin.write(say.encode())
        process.stdin.close()
        process.stdin = None
        yield output
    finally:
        process.kill()
        process.communicate()


def test_console_pipe(console, booted):
    log_in_again(console)
    with pipe("-i", say="image-digest\n") as output:
        until(lambda: booted in output(), "the digest")


def test_console_pipe_reads_on_after_the_end_of_input(console, booted):
    log_in_again(console)
    with pipe(say="echo first\n") as output:
        until(lambda: re.search("^first", output(), re.M), "the first answer")
        console.sendline("echo after-eof")
        until(lambda: re.search("^after-eof", output(), re.M), "output after the end of input")


def test_console_pipe_to_a_file(console, booted, work):
    log_in_again(console)
    log = work / "console.log"
    with pipe("-o", str(log), say="image-digest\n") as output:

        def logged():
            assert not output(), "all goes to the file"
            return log.exists() and booted in log.read_text(errors="replace")

        until(logged, "the digest in the file")


def test_console_pipe_without_output(console, booted):
    log_in_again(console)
    j("dutlink", "console", "pipe", "--no-output", input="echo from-the-pipe\n")
    console.expect("\nfrom-the-pipe")


@contextmanager
def terminal(*command):
    """A command on a terminal of its own; gives the process and the terminal's other end.

    Not `pexpect.spawn`: it forks the interpreter, which crashes in gRPC's threads now and then.
    """
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    finally:
        os.close(theirs)
    try:
        yield process, fdspawn(ours, timeout=30)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_start_console(booted):
    with terminal(J, "dutlink", "console", "start-console") as (process, screen):
        screen.expect_exact("Starting serial port console")

        def prompted():
            screen.send("\n")
            return screen.expect_exact([LOGIN, pexpect.TIMEOUT], timeout=0.5) == 0

        until(prompted, "a login prompt")
        screen.sendline("root")
        screen.expect_exact(PROMPT)
        screen.sendline("image-digest")
        screen.expect_exact(booted)
        screen.send("\x02" * 3)
        screen.expect(pexpect.EOF)
        assert process.wait(20) == 0
