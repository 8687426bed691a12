"""A lease taken and used with the Python interface, without a shell around it."""

from jumpstarter.config.client import ClientConfigV1Alpha1

config = ClientConfigV1Alpha1.load("default")
with config.lease(selector="board=x") as lease:
    with lease.connect() as client:
        client.power.on()
        client.power.off()
    print("acted in", lease.name)
