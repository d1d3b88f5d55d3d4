"""Data modules for pytorch-lightning."""

from nfvae.data.images import DATASETS, BinarizedImages
from nfvae.data.toys import TOYS, ToyVectors

__all__ = ["DATASETS", "TOYS", "BinarizedImages", "ToyVectors"]
