"""A client that dies in the middle of an upload."""

import subprocess
import sys
from pathlib import Path


def upload_and_die(instance):
    """Runs `stalled_upload.py` until it has sent its part, and kills it without a goodbye."""
    script = Path(__file__).with_name("stalled_upload.py")
    upload = subprocess.Popen([sys.executable, script, instance], stdout=subprocess.PIPE, text=True)
    try:
        for line in upload.stdout:
            if "stalled" in line:
                return
        raise AssertionError(f"the upload ended by itself with {upload.wait()}")
    finally:
        upload.kill()
        upload.wait()
        upload.stdout.close()
