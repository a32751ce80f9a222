"""What pyproject.toml cannot say: the configs, beside the package in a clone, are installed within it."""

from setuptools import find_packages, setup

# There, `packages` is either found, or a list of every one by hand: one from another folder cannot join found ones.
setup(
    packages=[*find_packages(include=["iassf_jax*"]), "iassf_jax.configs", "iassf_jax.configs.experiments"],
    package_dir={"iassf_jax.configs": "configs"},
)
