"""The networks by name."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn

from iassf_jax.errors import UserError
from iassf_jax.models.iassf import IASSF
from iassf_jax.models.release.network import ReleasedIASSF

MODELS: dict[str, type[nn.Module]] = {"iassf": IASSF, "iassf_release": ReleasedIASSF}


def build_model(settings: Mapping[str, Any]) -> nn.Module:
    """Makes the network that a config's `model` section describes.

    Args:
        settings: `name` (a key of `MODELS`) and the fields of that module.

    Raises:
        UserError: an unknown name or field.
    """
    settings = {key: tuple(value) if isinstance(value, list) else value for key, value in dict(settings).items()}
    name = settings.pop("name", None)
    if not isinstance(name, str) or name not in MODELS:
        raise UserError(f"unknown model {name!r}: set model.name to one of {', '.join(MODELS)}")
    fields = _fields(MODELS[name])
    if unknown := sorted(set(settings) - set(fields)):
        raise UserError(f"model {name!r} has no setting {', '.join(unknown)}; it has {', '.join(sorted(fields))}")
    for field, value in settings.items():
        _check_type(field, value, getattr(MODELS[name], field))
    return MODELS[name](**settings)


def _check_type(field: str, value: Any, default: Any) -> None:
    """A setting must be of its default's type and, where it counts something, of a size that a network can have."""
    if isinstance(default, tuple):
        good = isinstance(value, tuple) and len(value) <= 15 and all(type(n) is int and n <= 100 for n in value)
        wanted = "up to 15 counts of at most 100"
    elif type(default) is int:
        limit = 100 if field.endswith("_blocks") else 4096
        limit = 15 if field == "fusion_blocks" else limit  # each two of them halve the image
        good, wanted = type(value) is int and value <= limit, f"an integer of at most {limit}"
    else:
        good, wanted = type(value) is type(default), f"a value like {default!r}"
    if not good:
        raise UserError(f"model.{field} is {str(value)[:60]}: use {wanted}")


def full_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A `model` section with every field of its module, defaults where it names none."""
    model = build_model(settings)
    return {"name": settings["name"], **{field: getattr(model, field) for field in _fields(type(model))}}


def _fields(module: type[nn.Module]) -> list[str]:
    return [f.name for f in dataclasses.fields(module) if f.name not in ("parent", "name")]
