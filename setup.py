"""What pyproject.toml cannot say: the configs, beside the package in a clone, are installed within it."""

import sys

from setuptools import find_packages, setup

packages = find_packages(include=["iassf_jax*"])
if "editable_wheel" in sys.argv:  # the clone on Python's path: else a folder that holds it hides the package there
    setup(packages=packages, package_dir={"": "."})
else:  # `packages` is either found, or a list of every one by hand: one from another folder cannot join found ones
    setup(
        packages=[*packages, "iassf_jax.configs", "iassf_jax.configs.experiments"],
        package_dir={"iassf_jax.configs": "configs"},
    )
