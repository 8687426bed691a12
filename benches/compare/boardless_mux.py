"""The storage of a DUTLink as the Python exporter has it, without the board: nothing is switched, and what
is written goes to a block device of the machine."""

from dataclasses import dataclass

from jumpstarter_driver_dutlink.driver import DutlinkConfig, DutlinkStorageMux


@dataclass(kw_only=True)
class BoardlessMux(DutlinkStorageMux):
    def __post_init__(self):
        super(DutlinkConfig, self).__post_init__()

    def control(self, action):
        pass
