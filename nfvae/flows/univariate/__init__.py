"""Monotone scalar maps by name, shared by the families that apply one to each coordinate."""

from nfvae.flows.univariate.base import ScaleAndShift, Univariate
from nfvae.registry import Registry

__all__ = ["UNIVARIATES", "ScaleAndShift", "Univariate"]

UNIVARIATES = Registry(
    "univariate map",
    Univariate,  # type: ignore[type-abstract]
    {
        "affine": "nfvae.flows.univariate.affine:Affine",
        "cubic": "nfvae.flows.univariate.cubic:CubicSpline",
        "gate": "nfvae.flows.univariate.gate:Gate",
        "leaky": "nfvae.flows.univariate.leaky:Leaky",
        "logistic": "nfvae.flows.univariate.logistic:LogisticMixture",
        "nlsq": "nfvae.flows.univariate.nlsq:NonlinearSquared",
        "piecewise_linear": "nfvae.flows.univariate.piecewise_linear:PiecewiseLinear",
        "piecewise_quadratic": "nfvae.flows.univariate.piecewise_quadratic:PiecewiseQuadratic",
        "shift": "nfvae.flows.univariate.shift:Shift",
        "sigmoid": "nfvae.flows.univariate.sigmoid:DeepSigmoid",
        "sos": "nfvae.flows.univariate.sum_of_squares:SumOfSquares",
        "spline": "nfvae.flows.univariate.spline:RationalQuadraticSpline",
        "sqrt": "nfvae.flows.univariate.square_root:SquareRoot",
        "umnn": "nfvae.flows.univariate.umnn:MonotonicNetwork",
    },
)
