"""A lease of the board that the first command serves, with the Python interface and without a shell around it. The
configuration is the one that JMP_CLIENT_CONFIG_HOME names."""

from jumpstarter.config.client import ClientConfigV1Alpha1

config = ClientConfigV1Alpha1.load("default")
with config.lease(selector="board=rpi4") as lease:
    with lease.connect() as client:
        client.dutlink.power.off()
        client.dutlink.power.on()
        assert next(client.dutlink.power.read()).voltage > 0
    print("acted on", lease.exporter_name, "in lease", lease.name)
