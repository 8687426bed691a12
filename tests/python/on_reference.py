"""Runs cases against the released Python exporter, to learn whether the cases themselves are right.

    python on_reference.py [pytest arguments, such as test_drivers.py]

Cases of the virtual board have no reference: the Python packages bring no such board.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
DEADLINE = 60


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run(case):
    """One case, with an exporter and a directory of its own; True if it passed."""
    with tempfile.TemporaryDirectory(prefix="rigd-ref-") as work:
        values = {"DIR": work, "PORT": str(free_port()), "PORT2": str(free_port())}
        text = (HERE / "exporters" / "instruments.yaml").read_text()
        for name, value in values.items():
            text = text.replace(f"@{name}@", value)
        exporter = Path(work, "exporter.yaml")
        exporter.write_text(text)
        Path(work, "root").mkdir()
        echo = subprocess.Popen(
            [sys.executable, HERE / "echo_pty.py", Path(work, "tty")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        echo.stdout.readline()
        try:
            # `jmp run` is what rigd stands in for, but `jmp shell` serves a socket for as long as its command runs.
            jmp = [Path(sys.executable).with_name("jmp"), "shell", "--exporter-config", exporter, "--"]
            # It always exits with 0, so the status of the case goes through a file.
            noted = ["sh", "-c", '"$@"; echo $? > "$TEST_DIR/status"', "sh"]
            session = subprocess.Popen(
                [*jmp, *noted, sys.executable, "-m", "pytest", case],
                cwd=HERE,
                start_new_session=True,
                env=os.environ
                | {f"TEST_{name}": value for name, value in values.items()}
                | {"JMP_DRIVERS_ALLOW": "UNSAFE", "RIGD_TEST_PEER": "python", "PYTHONDONTWRITEBYTECODE": "1"},
            )
            try:
                session.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                print(f"{case} is not over after {DEADLINE} s")
                os.killpg(session.pid, signal.SIGKILL)
                session.wait()
                return False
            return Path(work, "status").read_text().strip() == "0"
        finally:
            echo.communicate()


def cases(arguments):
    listed = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", *arguments],
        cwd=HERE,
        capture_output=True,
        text=True,
    )
    found = [line for line in listed.stdout.splitlines() if "::" in line]
    if not found:
        sys.exit(f"no cases in {arguments}\n{listed.stdout}{listed.stderr}")
    return found


if __name__ == "__main__":
    failed = [case for case in cases(sys.argv[1:]) if not run(case)]
    print("\n".join(["failed:", *failed] if failed else ["all passed"]))
    sys.exit(bool(failed))
