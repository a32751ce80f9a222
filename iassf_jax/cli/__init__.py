"""The command line.

Messages of XLA's own (slow compilations, features of the processor) stay off the terminal, unless TF_CPP_MIN_LOG_LEVEL
asks for them; it is read when JAX is imported, which comes later.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
