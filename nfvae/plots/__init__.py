"""Pictures; each function returns a matplotlib Figure."""

from nfvae.plots.classes import PROJECTIONS, classification_figure, latents_figure, projected
from nfvae.plots.curves import difference_figure, gain_bars, learning_curves
from nfvae.plots.densities import density_figure, density_gallery, uniform_figure
from nfvae.plots.energies import energies_figure
from nfvae.plots.flows import (
    check_plane,
    deformation_figure,
    layers_figure,
    posterior_contours,
    posterior_misfit,
)
from nfvae.plots.images import image_grid, interpolation_grid, latent_traversal, reconstruction_grid
from nfvae.plots.likelihood import (
    annealed_figure,
    exact_figure,
    gap_bars,
    gap_figure,
    k_curves,
    likelihood_figure,
    sandwich_figure,
)
from nfvae.plots.vectors import marginals_figure, scatter_figure

__all__ = [
    "PROJECTIONS",
    "annealed_figure",
    "check_plane",
    "classification_figure",
    "deformation_figure",
    "density_figure",
    "density_gallery",
    "difference_figure",
    "energies_figure",
    "exact_figure",
    "gain_bars",
    "gap_bars",
    "gap_figure",
    "image_grid",
    "interpolation_grid",
    "k_curves",
    "latent_traversal",
    "latents_figure",
    "layers_figure",
    "learning_curves",
    "likelihood_figure",
    "marginals_figure",
    "posterior_contours",
    "posterior_misfit",
    "projected",
    "reconstruction_grid",
    "sandwich_figure",
    "scatter_figure",
    "uniform_figure",
]
