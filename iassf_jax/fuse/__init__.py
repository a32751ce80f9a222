"""Using a network: on arrays, files and videos."""
