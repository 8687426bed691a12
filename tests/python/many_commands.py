"""Runs one `jmp` command line after another, each in a fork of this process: loading the packages takes a second, a
command a fraction of it. It must be a process of its own, since `jmp` remembers options from one call to the next.

Reads a command's arguments as a line of JSON, and answers with a line of what it printed and its exit code. A command
that begins with `python` runs a function of `pages.py`."""

import json
import os
import sys

import pages
from click.testing import CliRunner
from jumpstarter_cli.jmp import jmp


def run(arguments):
    if arguments[0] == "python":
        return getattr(pages, arguments[1])(*arguments[2:]), 0
    result = CliRunner().invoke(jmp, arguments)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output, result.exit_code


for line in sys.stdin:
    child = os.fork()
    if child == 0:
        output, code = run(json.loads(line))
        print(json.dumps({"output": output, "code": code}), flush=True)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status:
        sys.exit(f"{line}: {status}")
