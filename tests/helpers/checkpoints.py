"""Checkpoints that were changed, and sealed again."""

from contextlib import contextmanager

import torch

from nfvae.runs.checkpoint import seal


@contextmanager
def changed(path):
    """A checkpoint's content; what is done to it is written back as if training had written it."""
    content = torch.load(path, weights_only=True)
    yield content
    content.pop("digests", None)
    seal(content)
    torch.save(content, path)
