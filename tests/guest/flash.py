"""The released client flashes an image to the guest's SDWire and dumps the card: flash.py IMAGE DUMP."""
import sys

from jumpstarter.utils.env import env

with env() as client:
    client.sdwire.flash(sys.argv[1])
    client.sdwire.dump(sys.argv[2])
