"""Training losses: `paper` holds Eq. 6-9, `ours` what the default weights are trained with."""

from iassf_jax.losses.ours import haze_loss
from iassf_jax.losses.paper import paper_loss

__all__ = ["haze_loss", "paper_loss"]
