"""The released client flashes an image to a card of the guest's and dumps the card: flash.py INSTANCE IMAGE DUMP."""
import sys

from jumpstarter.utils.env import env

with env() as client:
    card = getattr(client, sys.argv[1])
    card.flash(sys.argv[2])
    card.dump(sys.argv[3])
