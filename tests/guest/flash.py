"""The released client flashes an image to a card of the guest's and dumps the card: flash.py PATH IMAGE DUMP."""
import functools
import sys

from jumpstarter.utils.env import env

with env() as client:
    card = functools.reduce(getattr, sys.argv[1].split('.'), client)
    card.flash(sys.argv[2])
    card.dump(sys.argv[3])
