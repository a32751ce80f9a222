"""The documentation's pictures are of the weights that are shipped."""

import json

import pytest

from docs import pictures
from iassf_jax.weights import shipped

NOTES = json.loads(pictures.NOTES.read_text())
AGAIN = "make the pictures anew and look at them: python -m docs.pictures"


def test_every_picture_that_is_made_is_noted():
    assert NOTES.keys() == pictures.PICTURES.keys(), AGAIN


@pytest.mark.parametrize("name", NOTES)
def test_a_picture_shows_todays_weights(name):
    note, weights = NOTES[name], pictures.PICTURES[name][0]
    assert note["weights"] == weights, AGAIN
    if weights:
        now = pictures.sha256(shipped.FOLDER / f"{weights}.safetensors")
        assert note["sha256"] == now, f"{weights} has changed since docs/{name} was made: {AGAIN}"
    assert note["picture"] == pictures.sha256(pictures.DOCS / name), f"docs/{name} is not the one noted: {AGAIN}"
