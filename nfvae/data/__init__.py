"""Data modules for pytorch-lightning, and the data sets they read, by name."""

from nfvae.data.batches import SPLITS, Splits
from nfvae.data.datasets import DATASETS, ImageDataset
from nfvae.data.images import BinarizedImages
from nfvae.data.toys import TOYS, Toy, ToyVectors

__all__ = ["DATASETS", "SPLITS", "TOYS", "BinarizedImages", "ImageDataset", "Splits", "Toy", "ToyVectors"]
