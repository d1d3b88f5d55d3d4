"""Data modules for pytorch-lightning."""

from nfvae.data.images import DATASETS, BinarizedImages

__all__ = ["DATASETS", "BinarizedImages"]
