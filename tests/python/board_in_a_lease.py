"""What a board's owner would write, for a lease that `jmp shell` took: an image goes to the card, the board boots it
and names its digest. Run by pytest; the file has no name of a test since it needs that lease."""

import hashlib

import pytest
from jumpstarter_driver_network.adapters import PexpectAdapter
from jumpstarter_testing import JumpstarterTest

from board import image_digest, log_in


class TestBoard(JumpstarterTest):
    selector = "board=x"

    @pytest.fixture
    def console(self, client):
        with PexpectAdapter(client=client.dutlink.console) as console:
            yield console

    def test_boots_the_image_it_was_given(self, client, console, tmp_path):
        image = bytes(range(1, 256)) * 8192
        (tmp_path / "image").write_bytes(image)
        client.dutlink.power.off()
        client.dutlink.storage.write_local_file(tmp_path / "image")
        client.dutlink.storage.dut()
        client.dutlink.power.on()
        log_in(console)
        assert image_digest(console) == hashlib.sha256(image).hexdigest()
