"""The plain VAE on the Hugging Face hub; an optional dependency."""

import inspect
import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

from typing_extensions import override

from nfvae.models import VAE, make_vae
from nfvae.models.vae import ARCHITECTURE
from nfvae.registry import check_options, check_trusted, plain
from nfvae.runs.checkpoint import load_weights
from nfvae.runs.run import Run

try:
    import safetensors.torch  # noqa: F401  (the hub's library imports it late)
    from huggingface_hub import PyTorchModelHubMixin
except ImportError as error:
    raise ImportError("huggingface_hub is not installed; install it with pip install nfvae[hub]") from error

_CARD = """---
{{ card_data }}
---
A variational autoencoder of [nfvae](https://github.com/nfvae/nfvae): {{ about }}.

```python
from nfvae.runs.hub import HubVAE

model = HubVAE.from_pretrained("{{ repo_id | default("this folder", true) }}")
images = model.sample(64)  # pixel probabilities with shape (64, {{ pixels }})
```
"""


class HubVAE(
    VAE,
    PyTorchModelHubMixin,
    library_name="nfvae",
    tags=["variational-autoencoder", "normalizing-flow"],
    model_card_template=_CARD,
):
    """A VAE that is saved as config.json (its settings) and model.safetensors.

    It adds the methods `save_pretrained(folder)`, `push_to_hub("user/name")` and the class method
    `from_pretrained(folder or "user/name")`.

    Args:
        settings: arguments of `nfvae.make_vae`.

    Raises:
        ValueError: for no setting at all, an unknown name or option, a value out of range, or a class from outside
            nfvae that is neither trusted nor imported yet.

    Example:
        >>> HubVAE(flow="planar", latent=2, shape=[8, 8]).config["flow"]
        'planar'
    """

    def __init__(self, **settings: Any) -> None:
        if not settings:
            raise ValueError("a model needs its settings; is there a config.json?")
        check_options("model", "HubVAE", settings, ARCHITECTURE)
        settings = plain(settings)
        check_trusted(settings, "config.json")
        made = make_vae(**settings)
        super().__init__(made.posterior, made.decoder, made.prior, made.likelihood)
        self.config: dict[str, Any] = settings
        self.data: dict[str, Any] = {}

    @classmethod
    def from_run(cls, path: Path | str, trust: Collection[str] = ()) -> "HubVAE":
        """Load the best model of a run; arguments and errors are those of `Run` and `Run.vae`."""
        run = Run(path, trust)
        trained = run.vae()
        model = cls(**{name: run.settings[name] for name in ARCHITECTURE})
        model.load_state_dict(trained.state_dict())
        model.data = {name: run.data_settings.get(name) for name in ("dataset", "binarization")}
        return model.eval()

    @override
    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> "HubVAE":
        """Load a model as the hub's library does, but refuse weights that do not fit or are not finite."""
        model: HubVAE = super().from_pretrained(*args, **{"strict": True} | kwargs)
        load_weights(model, model.state_dict(), Path(str(args[0]) if args else "the model"))
        return model.eval()

    @override
    def generate_model_card(self, *args: Any, **kwargs: Any) -> Any:
        """Return the README.md that describes the model."""
        bound = inspect.signature(make_vae).bind(**self.config)
        bound.apply_defaults()
        made, shape = bound.arguments, bound.arguments["shape"]
        about = f"posterior {made['flow']} of depth {made['depth']}, prior {made['prior']}, {made['latent']} latents, "
        about += f"images of {' x '.join(map(str, shape))} pixels"
        if self.data.get("dataset"):
            about += f", trained on {self.data['dataset']} with {self.data['binarization']} binarization"
        return super().generate_model_card(*args, **{"about": about, "pixels": math.prod(shape), **kwargs})
