"""The commands by name. Adding one is a file beside this one and a line in `COMMANDS`."""

import signal
from typing import NamedTuple

__all__ = ["COMMANDS", "INTERRUPTED", "TERMINATED", "Command"]

INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM
"""Exit codes after Ctrl-C and after SIGTERM, as shells have them."""


class Command(NamedTuple):
    """A command NAME: the module that has its `NAME_command` and `NAME_parser`, and what it does in one line."""

    module: str
    summary: str


COMMANDS = {
    "fit": Command("nfvae.commands.fit", "train, or go on with a training that was interrupted"),
    "validate": Command("nfvae.commands.test", "report a trained model on the validation set"),
    "test": Command("nfvae.commands.test", "report a trained model on the test set"),
    "predict": Command("nfvae.commands.test", "write a posterior sample of each test image"),
    "evaluate": Command("nfvae.commands.evaluate", "estimate the likelihood of trained runs"),
    "gap": Command("nfvae.commands.gap", "say why the ELBO of trained runs misses the likelihood"),
    "compare": Command("nfvae.commands.compare", "compare runs in one table; train what is missing"),
    "export": Command("nfvae.commands.export", "write trained runs as small folders, to be shared"),
    "plot": Command("nfvae.commands.plot", "draw a picture of trained runs"),
    "encode": Command("nfvae.commands.encode", "encode images of your own into posterior samples"),
    "score": Command("nfvae.commands.encode", "say how likely images of your own are under a run"),
    "sample": Command("nfvae.commands.sample", "draw images from a trained run"),
}
