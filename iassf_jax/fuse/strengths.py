"""How much haze is taken off, and how much infrared is added."""

import dataclasses
import math
import numbers

from iassf_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Strengths:
    """What a user may set of a result.

    Attributes:
        dehaze: 0 (the hazy image) to 1.
        infrared: 0 (the fused image is the dehazed one) to 1.
        t0: least transmission, above 0 to 1: where haze lets less of the scene through than this, it stays in part. A
            lower one takes off more haze and shows more noise. None: as the weights say. Of networks with
            reconstruction "physical" alone.

    Raises:
        UserError: a number outside its range.
    """

    dehaze: float = 1.0
    infrared: float = 1.0
    t0: float | None = None

    def __post_init__(self) -> None:
        for name in ("dehaze", "infrared"):
            value = getattr(self, name)
            if not _is_number(value) or not 0 <= value <= 1:
                raise UserError(f"{name} strength is {value}: use 0 (nothing) to 1")
            object.__setattr__(self, name, float(value))  # NumPy's numbers go into no JSON
        if self.t0 is not None and not (_is_number(self.t0) and 0 < self.t0 <= 1):
            raise UserError(f"t0 is {self.t0}: use a transmission above 0 and up to 1, e.g. 0.2")


def _is_number(x: object) -> bool:
    return isinstance(x, numbers.Real) and not isinstance(x, bool) and math.isfinite(x)


FULL = Strengths()
"""All that a network makes."""
