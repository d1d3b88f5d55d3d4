"""Small trainings."""

import pytorch_lightning as pl

from nfvae import DataModule, FlowVAE
from tests.helpers.flows import small_options

NARROW = {"hidden": [16]}
SIZES = {"latent": 4, "context": 5, "shape": [8, 8], "encoder_options": NARROW, "decoder_options": NARROW}


def module(flow="planar", depth=2, **options):
    return FlowVAE(flow=flow, depth=depth, **SIZES | {"flow_options": small_options(flow)} | options)


def trainer(folder, epochs=1, **options):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    return pl.Trainer(max_epochs=epochs, default_root_dir=folder, **quiet | options)


def digits(**options):
    return DataModule("digits", batch_size=256, **options)
