"""The command line."""

import os

# Not XLA's own log, which would ask users to file a bug where compiling is slow: what fails comes as an exception.
# XLA reads this when JAX is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
