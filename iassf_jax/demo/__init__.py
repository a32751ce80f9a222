"""The web page of `iassf-jax demo`."""
