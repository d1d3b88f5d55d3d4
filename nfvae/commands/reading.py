"""The data in a file that a command is given for a run."""

from argparse import Namespace

import torch
from torch import Tensor

from nfvae.data.inputs import read_rows
from nfvae.runs import Run


def input_rows(run: Run, options: Namespace, missing: bool = False) -> Tensor:
    """Return the rows of `--input` with shape (N, P + C), with the condition of `--label` or `--condition` if given.

    Args:
        run: the run.
        options: arguments of `Parser.add_condition` and --input.
        missing: whether values may be missing although the run was trained without missing ones.

    Raises:
        ValueError: for a file that does not suit the run, or a condition that is missing or unknown.
    """
    given = run.names.condition_of(options.label, options.condition)
    spec, settings = run.spec._replace(missing=missing or run.spec.missing), run.data_settings
    if given is not None:
        spec, settings = spec._replace(conditions=0), settings | {"labels": False, "condition": None}
    rows = read_rows(options.input, spec, settings, run.names.columns, run.names.classes)
    if given is not None:
        return torch.cat([rows, given.expand(len(rows), -1)], 1)
    if rows.shape[1] != spec.width:
        raise ValueError(f"run {run.folder.path} is conditioned: give --label or --condition, or labels in the file")
    return rows
