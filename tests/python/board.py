"""The virtual board, as a person at its console meets it."""

LOGIN = "rpi4 login: "
PROMPT = "root@rpi4:~# "
HEX = r"([0-9a-f]{64})"


def log_in(console, timeout=30):
    console.expect_exact(LOGIN, timeout=timeout)
    console.sendline("root")
    console.expect_exact(PROMPT, timeout=timeout)


def image_digest(console):
    """What the booted board says about the image it runs."""
    console.sendline("image-digest")
    console.expect(HEX)
    return console.match.group(1).decode()
