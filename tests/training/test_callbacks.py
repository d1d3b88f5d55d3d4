"""Early stopping that waits for the warm-up."""

import pytest
import torch
from pytorch_lightning import Trainer

from nfvae import DataModule, FlowVAE
from nfvae.training import StopAfterWarmUp


@pytest.mark.parametrize(("warmup", "beta", "epochs"), [(0, 1.0, 3), (0, 0.7, 3), (5, 0.7, 8)])
def test_patience_begins_where_the_warm_up_ends(warmup, beta, epochs, tmp_path):
    """The learning rate is nothing, so that no validation is better than the first one that counts."""
    options = {"beta": beta, "warmup_epochs": warmup}
    module = FlowVAE("none", 1, context=0, latent=2, shape=[8, 8], lr=1e-30, objective_options=options)
    module.evaluation_metrics = lambda split, batch: {"elbo": torch.tensor(-50.0)}
    data = DataModule("digits", batch_size=500)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False, "accelerator": "cpu"}
    stop = StopAfterWarmUp(patience=2)
    trainer = Trainer(max_epochs=30, callbacks=[stop], default_root_dir=tmp_path, **quiet)
    trainer.fit(module, data)
    assert trainer.current_epoch == epochs
