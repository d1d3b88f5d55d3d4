"""The data module for pytorch-lightning, and the data sets it reads, by name."""

from nfvae.data.batches import SPLITS, Part, Splits
from nfvae.data.datasets import DATASETS, Dataset, ImageDataset
from nfvae.data.module import DataModule
from nfvae.data.toys import Toy

__all__ = ["DATASETS", "SPLITS", "DataModule", "Dataset", "ImageDataset", "Part", "Splits", "Toy"]
