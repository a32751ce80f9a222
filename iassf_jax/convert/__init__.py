"""Weights to and from PyTorch's and safetensors files: the only place that knows PyTorch's names and layout."""
