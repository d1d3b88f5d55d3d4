"""Flows by name, and your own by its path."""

import pytest
import torch

from nfvae.flows import FLOWS, Flow, make_flow
from tests.helpers.flows import CONTEXT


def test_a_flow_of_your_own_works_by_its_path():
    path = "tests.helpers.own:StretchFlow"
    assert path not in FLOWS
    flow = make_flow(path, features=3, context=2, depth=4)
    y, log_det = flow(torch.zeros(5, 2)).forward_and_log_det(torch.ones(5, 3))
    torch.testing.assert_close(y.log().sum(-1), log_det)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "plannar",
            {},
            "unknown flow 'plannar'; known flows: actnorm, batchnorm, bnaf, chain, .*, zuko, or package.module:Class; "
            "did you mean planar\\?",
        ),
        ("iaf", {"hiden": 3}, "unknown option 'hiden' of flow 'iaf'; known options: univariate, hidden, hidden_layers"),
        ("planar", {"hidden": 3}, "unknown option 'hidden' of flow 'planar'; known options: none"),
        ("iaf", {"univariate_options": {"floor": 1.0}}, r"a gate's floor must be in \[0, 1\); got 1.0"),
        ("iaf", {"univariate_options": {"bound": 1.0}}, "unknown option 'bound' of univariate map 'gate'"),
        ("maf", {"univariate": "affine", "univariate_options": {"bound": 0}}, "bound must be above 0; got 0"),
        ("iaf", {"activation": "rleu"}, "unknown activation 'rleu'; known activations: elu"),
        ("iaf", {"hidden_layers": 0}, "hidden_layers must be at least 1"),
        (
            "maf",
            {"univariate": "log"},
            "unknown univariate map 'log'; known univariate maps: affine, cubic, gate, leaky,",
        ),
        (
            "coupling",
            {"mask": "half"},
            "unknown mask 'half'; known masks: halves, alternating, random; did you mean hal",
        ),
        ("nice", {"univariate": "affine"}, "unknown option 'univariate' of flow 'nice'; known options: mask, hidden"),
        (
            "sylvester",
            {"variant": "diagonal"},
            "unknown variant 'diagonal'; known variants: orthogonal, householder, tri",
        ),
        ("sylvester", {"size": 0}, "size must be at least 1"),
        (
            "linear",
            {"permutation": "none"},
            "unknown permutation 'none'; known permutations: identity, reverse, random",
        ),
        ("actnorm", {"start": "batch"}, "unknown start 'batch'; known starts: identity, data"),
        ("chain", {}, r"parts takes a list such as \[{flow: planar, depth: 4}, {flow: iaf}\]; got \(\)"),
        ("chain", {"parts": "planar"}, "parts takes a list"),
        ("chain", {"parts": ["planar"]}, "a part names its flow, as in {flow: planar, depth: 4}; got 'planar'"),
        ("chain", {"parts": [{"flow": "plannar"}]}, "unknown flow 'plannar'"),
        (
            "chain",
            {"parts": [{"flow": "planar", "dept": 4}]},
            "unknown option 'dept' of part 'planar'; known options: ",
        ),
        ("chain", {"parts": [{"flow": "iaf", "flow_options": {"hiden": 3}}]}, "unknown option 'hiden' of flow 'iaf'"),
        ("chain", {"parts": [{"flow": "iaf", "depth": 0}]}, "a flow's depth must be at least 1; got 0"),
        ("zuko", {"transform": "MAFF"}, "unknown transform 'MAFF'; known transforms: .*; did you mean MAF"),
        ("zuko", {"transform": "torch.nn:Linear"}, "'torch.nn:Linear' is neither a lazy transform nor a flow of zuko"),
        ("zuko", {"transform_options": {"hiden": 3}}, "zuko's MAF refuses options {'hiden': 3}"),
        ("zuko", {"transform_options": {"context": 3}}, "unknown option 'context' of transform 'MAF'"),
        ("no.such.module:Flow", {}, "cannot import flow 'no.such.module:Flow'"),
        ("nfvae.flows:Nothing", {}, "cannot import flow 'nfvae.flows:Nothing'"),
        ("torch.nn:Linear", {}, "'torch.nn:Linear' is not a subclass of nfvae.flows.base.Flow"),
        ("nfvae.flows:Flow", {}, "'nfvae.flows:Flow' is abstract: it lacks build, given"),
    ],
)
def test_mistakes_are_named(name, options, message):
    with pytest.raises(ValueError, match=message):
        make_flow(name, 4, **options)


def test_flow_is_abstract():
    with pytest.raises(TypeError):
        Flow(2)


def test_one_linear_head_gives_the_parameters_of_a_whole_stack():
    for name in ("planar", "radial", "cholesky"):
        flow = make_flow(name, 4, CONTEXT, depth=6)
        assert [key for key, _ in flow.named_parameters()] == ["head.bias", "head.weight"]
