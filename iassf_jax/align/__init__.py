"""How the infrared image of a rig of two cameras lies in its visible image, and bringing it there."""
