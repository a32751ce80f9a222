"""Cost of networks that lack a part."""

from iassf_jax.evaluate import cost
from iassf_jax.models import build_model


def test_cost_of_a_network_with_the_physical_head_and_without_its_parts():
    small = {"channels": 8, "prompt_size": 4, "restoration_blocks": (1, 1, 1), "fusion_channels": 4}
    how = {"fusion_blocks": 3, "heads_per_channels": 4, "reconstruction": "physical", "working_size": 32, "patch": 2}
    model = build_model({"name": "iassf", **small, **how})
    assert cost.multiply_adds(model, 64, 64).keys() == cost.parameters(model).keys() | {"other"}  # other: resizing
    table = cost.ablation_table(model, 64, 64)
    assert all(name in table for name in cost.ABLATIONS)
