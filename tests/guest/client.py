"""The released client drives the lines of the guest; the test looks at them from the other side.

Each step is announced on standard output, and the next one begins when the test answers.
"""
from jumpstarter_driver_gpiod.client import PinState
from jumpstarter.client.core import DriverError
from jumpstarter.utils.env import env


def say(step):
    print('step:', step, flush=True)
    input()


with env() as client:
    client.relay.on()
    say('relay on')
    client.relay.cycle(wait=0.1)
    say('relay on again')
    client.relay.off()
    say('relay off')

    assert client.led.read() is PinState.INACTIVE
    client.led.on()
    assert client.led.read() is PinState.ACTIVE
    say('led on')
    client.led.off()
    assert client.led.read() is PinState.INACTIVE

    assert client.button.read() is PinState.INACTIVE
    client.button.wait_for_inactive(5)
    try:
        client.button.wait_for_active(0.3)
    except DriverError as error:
        assert 'Timed out waiting for line 0 edge event' in str(error), error
    else:
        raise AssertionError('a wait for an edge that never came ended well')
    say('press')
    client.button.wait_for_active(20)
    assert client.button.read() is PinState.ACTIVE
    say('release')
    client.button.wait_for_inactive(20)
    print('step: done', flush=True)
