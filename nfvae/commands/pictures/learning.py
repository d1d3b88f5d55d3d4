"""The picture of learning curves."""

from typing import TYPE_CHECKING

from typing_extensions import override

from nfvae.commands.pictures.base import Given, Picture
from nfvae.plots import learning_curves

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Learning(Picture):
    """Validation curves of several runs, over epochs and minutes."""

    help = "validation curves of several runs, over epochs and minutes"

    @override
    def draw(self, given: Given) -> "Figure":
        runs = given.named()
        histories = {name: [run.folder.history()] for name, run in runs.items()}
        known = {name for [history] in histories.values() for row in history for name in row}
        metric = next((metric for metric in ("val/elbo", "val/reverse_kl", "val/nll") if metric in known), None)
        if metric is None:
            raise ValueError(f"no history to draw: {', '.join(str(run.folder.metrics) for run in runs.values())}")
        for name, [history] in histories.items():
            if not any(metric in row for row in history):
                raise ValueError(f"run {runs[name].folder.path} has no {metric} in its history")
        digests: dict[str, str | None] = {}
        for run in runs.values():
            dataset = run.data_settings.get("dataset", "data of your own")
            digests[dataset] = digests.get(dataset) or run.data_digest  # older checkpoints do not hold it
            if run.data_digest and run.data_digest != digests[dataset]:
                different = f"the runs were validated on different data of {dataset}"
                raise ValueError(f"{different}: they cannot share a picture")
        datasets = list(digests)
        return learning_curves(histories, metric, ", ".join(datasets))
