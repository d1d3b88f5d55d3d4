"""Numerical building blocks without any probability model in them."""

from nfvae.numerics.functions import (
    SMALLEST_SOFTPLUS,
    as_tensor,
    bounded,
    log_mean_exp,
    shifted_softplus,
    softly_between,
)
from nfvae.numerics.guards import first_derivative_only
from nfvae.numerics.matrices import is_settled, log_abs_det, plus_identity, solved
from nfvae.numerics.precision import (
    at_least_float32,
    double,
    full_precision,
    in_precision,
    mixed_type,
    network_precision,
)
from nfvae.numerics.roots import monotone_root, solve_transposed, solve_triangular, triangular_root

__all__ = [
    "SMALLEST_SOFTPLUS",
    "as_tensor",
    "at_least_float32",
    "bounded",
    "double",
    "first_derivative_only",
    "full_precision",
    "in_precision",
    "is_settled",
    "log_abs_det",
    "log_mean_exp",
    "mixed_type",
    "monotone_root",
    "network_precision",
    "plus_identity",
    "shifted_softplus",
    "softly_between",
    "solve_transposed",
    "solve_triangular",
    "solved",
    "triangular_root",
]
