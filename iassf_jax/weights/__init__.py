"""Weights: reading, converting, shipped ones, and networks as files for other programs."""
