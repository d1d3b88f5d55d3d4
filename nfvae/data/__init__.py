"""Data modules for pytorch-lightning, and the data sets they read, by name."""

from nfvae.data.batches import SPLITS, Splits
from nfvae.data.images import DATASETS, BinarizedImages, ImageDataset
from nfvae.data.toys import TOYS, Toy, ToyVectors

__all__ = ["DATASETS", "SPLITS", "TOYS", "BinarizedImages", "ImageDataset", "Splits", "Toy", "ToyVectors"]
