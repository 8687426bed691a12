"""The released client at an exporter of the service: switches the relay, and speaks with the board, which
answers each line with `board: ` before it."""
from jumpstarter.utils.env import env
from jumpstarter_driver_network.adapters import PexpectAdapter

with env() as client:
    client.relay.off()
    client.relay.on()
    with PexpectAdapter(client=client.console) as console:
        console.sendline('hello')
        console.expect('board: hello', timeout=60)
    print('step: done')
