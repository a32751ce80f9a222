"""Fast forms of what the networks compute; each has a plain form that it is tested against."""
