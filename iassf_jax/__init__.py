"""Joint dehazing and fusion of visible and infrared images in one network (IASSF, arXiv 2411.12586), in JAX.

Importing this package does not import JAX: data workers do it too.
"""

__version__ = "0.1.0"
