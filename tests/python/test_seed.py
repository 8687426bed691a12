"""The test that a board's owner would write: an image goes to the card, the board boots it and names its digest."""

import pytest
from jumpstarter_driver_network.adapters import PexpectAdapter
from jumpstarter_testing import JumpstarterTest
from pexpect import TIMEOUT

from board import LOGIN, image_digest, log_in
from images import MIB, image
from killed import upload_and_die
from waiting import once_free

EMPTY = "No bootable medium found"


class TestSeed(JumpstarterTest):
    selector = "board=rpi4"

    @pytest.fixture
    def console(self, client):
        with PexpectAdapter(client=client.dutlink.console) as console:
            yield console

    def boot(self, client, path):
        client.dutlink.power.off()
        client.dutlink.storage.write_local_file(path)
        client.dutlink.storage.dut()
        client.dutlink.power.on()

    def test_boots_the_image_it_was_given(self, client, console, work):
        path, digest = image(work / "long.img", 64 * MIB)
        self.boot(client, path)
        console.expect_exact(f"Image sha256:{digest}")
        log_in(console)
        assert image_digest(console) == digest

    def test_a_short_image_after_a_long_one(self, client, console, work):
        long, long_digest = image(work / "long.img", 8 * MIB)
        self.boot(client, long)
        log_in(console)
        assert image_digest(console) == long_digest
        short, short_digest = image(work / "short.img", MIB + 513)
        self.boot(client, short)
        log_in(console)
        assert image_digest(console) == short_digest

    def test_an_empty_card_does_not_boot(self, client, console):
        client.dutlink.storage.dut()
        client.dutlink.power.on()
        console.expect_exact(EMPTY)
        console.expect_exact(EMPTY)

    def test_an_image_of_zeros_does_not_boot(self, client, console, work):
        (work / "zeros.img").write_bytes(bytes(2 * MIB))
        self.boot(client, work / "zeros.img")
        console.expect_exact(EMPTY)

    def test_an_interrupted_write_does_not_boot(self, client, console, work):
        storage, power = client.dutlink.storage, client.dutlink.power
        power.off()
        upload_and_die("dutlink.storage")
        once_free(storage.dut)
        power.on()
        console.expect_exact("image incomplete")
        assert console.expect_exact([LOGIN, TIMEOUT], timeout=2) == 1
        path, digest = image(work / "whole.img", 2 * MIB)
        self.boot(client, path)
        log_in(console)
        assert image_digest(console) == digest
