"""Scores of networks and of folders of images, baselines, experiments."""
