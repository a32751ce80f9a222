"""Parameters that had other names before version 0.2: what turns features into images lay in other modules."""

from collections.abc import Mapping
from typing import Any

from flax.traverse_util import flatten_dict, unflatten_dict

_FORMER = {
    ("heads", "dehazed"): ("ia_frm", "to_image"),
    ("heads", "fused"): ("mspe_fm", "to_image"),
    ("heads", "transmission"): ("ia_frm", "to_haze", "transmission"),
    ("heads", "airlight"): ("ia_frm", "to_haze", "airlight"),
    ("heads", "gains"): ("mspe_fm", "to_image"),
}
_REMOVED = {"refine_radius": 0, "global_modulation": False, "modulation_passes": 1}
"""Settings that a network no longer has, and what they were where they did nothing."""


def former_path(path: tuple[str, ...]) -> tuple[str, ...]:
    """The name that a parameter's path, e.g. ("params", "heads", "fused", "bias"), had."""
    for new, old in _FORMER.items():
        if path[1:3] == new:
            return (path[0], *old, *path[3:])
    return path


def former_tree(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A tree of parameters, or of their shapes, under their former names."""
    return unflatten_dict({former_path(path): x for path, x in flatten_dict(tree).items()})


def current_tree(found: Mapping[str, Any], expected: Mapping[str, Any]) -> Mapping[str, Any]:
    """A tree under today's names, which are those of `expected`, if it has the former ones; else as it is."""
    return unflatten_dict(current_paths(flatten_dict(found), flatten_dict(expected)))


def current_paths(found: Mapping[tuple, Any], expected: Mapping[tuple, Any]) -> dict[tuple, Any]:
    """`current_tree` of parameters by their paths."""
    former = {former_path(path): path for path in expected}
    if found.keys() == expected.keys() or not found.keys() >= former.keys():
        return dict(found)
    return {former.get(path, path): x for path, x in found.items()}


def current_settings(model: Mapping[str, Any]) -> dict[str, Any]:
    """A `model` section without settings that are gone, where they did nothing; else they stay, to be refused."""
    return {name: x for name, x in model.items() if name not in _REMOVED or x != _REMOVED[name]}
