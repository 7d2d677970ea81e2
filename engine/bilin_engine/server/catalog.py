"""`ListCatalog`: the known models beside this machine's devices."""

from bilin_engine.hubs.catalog import entries
from bilin_engine.placement.devices import parse_devices
from bilin_engine.protocol import CatalogEntry
from bilin_engine.server.devices import OwnMemory, list_devices
from bilin_engine.server.planning import real_devices


def list_catalog(devices: str, own: OwnMemory) -> tuple[CatalogEntry, ...]:
    """In the order of the file. devices: invented ones, "" = this machine's."""
    found = parse_devices(devices) if devices else real_devices(list_devices(own))
    return tuple(entries(found))
