"""resources/catalog.json: models that are worth fetching, told without asking anybody.

A name, where it is published, its licence, and what this engine knows of its sizes. Nothing there
decides what is fetched: that is the repository's own listing.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from bilin_engine.config.read import PARSERS
from bilin_engine.errors import BilinError
from bilin_engine.placement.cost import file_bytes
from bilin_engine.placement.devices import PlanDevice
from bilin_engine.placement.known_configs import known_config
from bilin_engine.placement.plan import plan
from bilin_engine.protocol import CatalogEntry, Hub, PlanSettings

_OWN = ("id", "name", "family", "languages", "licence", "repositories", "is_runnable")
CONTEXT = 8192  # tokens a model has to hold to count as one that fits; its own if it has fewer


class CatalogModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry of the file. family: config.json's model_type. config: of `known_configs`, or "".

    licence: as the hub names it, "" where only the hub says. An entry whose family this engine
    lacks is shown, and said so.
    """

    id: str
    name: str
    family: str
    repositories: dict[Hub, str]
    licence: str
    languages: tuple[str, ...]
    config: str = ""


class _Catalog(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    models: tuple[CatalogModel, ...]


def catalog_file() -> Path:
    """Inside the wheel, or in a checkout's resources."""
    package = Path(__file__).parents[1]
    inside_wheel = package / "_catalog.json"
    checkout = package.parents[1] / "resources" / "catalog.json"
    return inside_wheel if inside_wheel.is_file() else checkout


def read_catalog() -> tuple[CatalogModel, ...]:
    """The file, checked. Raises BilinError where this installation is damaged."""
    path = catalog_file()
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Catalog).models
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BilinError(f"{path} cannot be read; install Bilin again: {error}") from error


def entries(devices: Sequence[PlanDevice]) -> Iterator[CatalogEntry]:
    """Every model, and whether these devices hold it in INT4."""
    planned: dict[str, CatalogEntry] = {}  # several models share a configuration
    for model in read_catalog():
        entry = CatalogEntry(
            id=model.id,
            name=model.name,
            family=model.family,
            languages=model.languages,
            licence=model.licence,
            repositories=model.repositories,
            is_runnable=model.family in PARSERS,
        )
        if model.config:
            known = planned.get(model.config) or _planned(entry, model.config, devices)
            planned[model.config] = known
            own = {name: getattr(entry, name) for name in _OWN}
            entry = msgspec.structs.replace(known, **own)
        yield entry


def _planned(entry: CatalogEntry, name: str, devices: Sequence[PlanDevice]) -> CatalogEntry:
    published, packed = known_config(name, bits=16), known_config(name)
    settings = PlanSettings(context=min(CONTEXT, packed.max_sequence_length))
    result = plan(packed, devices, settings)
    used = [device for device in result.devices if device.weights]
    return msgspec.structs.replace(
        entry,
        num_parameters=published.num_parameters,
        download_bytes=file_bytes(published),
        int4_bytes=file_bytes(packed),
        fit="fits" if result.fits else "short",
        context=settings.context,
        needed_bytes=sum(
            one.weights + one.kv_cache + one.activations + one.communication for one in used
        ),
        devices=tuple(one.label for one in used) if result.fits else (),
        short_device=result.short_device,
        short_bytes=result.short_bytes,
        decode_tok_s=result.decode_tok_s if result.fits else 0.0,
    )
