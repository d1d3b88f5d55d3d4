"""The fast product of matrices is the product of matrices."""

import math
import sys

import pytest
import torch
from torch.nn import functional

from nfvae.networks import Linear, linear

MODULE = sys.modules["nfvae.networks.linear"]
CLOSE = {"rtol": 1e-5, "atol": 1e-4}


@pytest.fixture
def asked(monkeypatch):
    """Every product goes the fast way, whatever the processor; the shapes of those that did."""
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this PyTorch has no oneDNN")
    shapes, product = [], MODULE._ask_onednn
    monkeypatch.setattr(MODULE, "_LEAST", 0)
    monkeypatch.setattr(MODULE, "_ask_onednn", lambda *given: shapes.append(given[0].shape) or product(*given))
    return shapes


def given(*shape, outputs=7, bias=True):
    tensors = [torch.randn(*shape), torch.randn(outputs, shape[-1]), torch.randn(outputs) if bias else None]
    return [tensor if tensor is None else tensor.requires_grad_() for tensor in tensors]


@pytest.mark.parametrize("shape", [(30, 20), (3, 10, 20), (20,), (30, 5)])
@pytest.mark.parametrize("bias", [True, False])
def test_value_and_gradients_are_those_of_pytorch(shape, bias, asked):
    tensors = given(*shape, outputs=7, bias=bias)
    learning = [tensor for tensor in tensors if tensor is not None]
    found, expected = (product(*tensors).relu_() for product in (linear, functional.linear))  # in place, as ours is
    torch.testing.assert_close(found, expected, **CLOSE)
    grad = torch.randn_like(expected)
    gradients = [torch.autograd.grad(each, learning, grad) for each in (found, expected)]
    torch.testing.assert_close(*gradients, **CLOSE)
    assert len(asked) == 3


@pytest.mark.parametrize(
    "bias", [torch.arange(14.0)[::2], torch.arange(21.0).view(7, 3)[:, 1], torch.ones(1).expand(7)]
)
def test_a_bias_with_gaps_is_taken(bias, asked):
    x, weight, _ = given(10, 20)
    torch.testing.assert_close(linear(x, weight, bias), functional.linear(x, weight, bias), **CLOSE)
    assert asked


def test_mistakes_are_those_of_pytorch(asked):
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        linear(torch.zeros(3, 4), torch.zeros(5, 6))


@pytest.mark.parametrize("shape", [(4, 1, 7), (10, 7), (7,), (1, 7), (1,)])
def test_a_bias_is_broadcast(shape, asked):
    x, weight, _ = given(10, 20)
    bias = torch.randn(shape)
    torch.testing.assert_close(linear(x, weight, bias), functional.linear(x, weight) + bias, **CLOSE)


def test_matrices_with_gaps_and_other_strides_are_taken(asked):
    wide, weight = torch.randn(30, 50), torch.randn(20, 7)
    for x in (wide[:, 10:30], wide[::2, :20], torch.randn(20, 30).T, torch.randn(20).expand(30, 20)):
        torch.testing.assert_close(linear(x, weight.T), functional.linear(x, weight.T), **CLOSE)
    assert len(asked) == 4


def test_second_derivatives_are_right(asked):
    found = []
    for product in (linear, functional.linear):
        torch.manual_seed(0)
        x, weight, bias = given(9, 6)
        (first,) = torch.autograd.grad(product(x, weight, bias).square().sum(), x, create_graph=True)
        found.append(torch.autograd.grad(first.square().sum(), (x, weight, bias)))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-2)
    assert asked


def test_it_is_mapped_over_a_batch(asked):
    x, weight, bias = (tensor.detach() for tensor in given(4, 10, 20))
    torch.testing.assert_close(torch.vmap(linear, (0, None, None))(x, weight, bias), functional.linear(x, weight, bias))
    jacobian = torch.func.vmap(torch.func.jacrev(lambda row: linear(row[None], weight)[0]))(x[0])
    torch.testing.assert_close(jacobian, weight.expand(10, -1, -1))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_numbers_go_the_usual_way(dtype, asked):
    layer, x = Linear(20, 7).to(dtype), torch.randn(30, 20, dtype=dtype)
    assert torch.equal(layer(x), functional.linear(x, layer.weight, layer.bias))
    with torch.autocast("cpu", torch.bfloat16):
        assert Linear(20, 7)(torch.randn(30, 20)).dtype == torch.bfloat16
    assert not asked


def test_no_gradient_is_kept_where_none_is_wanted(asked):
    layer, x = Linear(20, 7), torch.randn(30, 20)
    with torch.inference_mode():
        assert not layer(x).requires_grad
    assert len(asked) == 1


def test_small_products_go_the_usual_way():
    x, weight, bias = given(30, 20)
    assert torch.equal(linear(x, weight, bias), functional.linear(x, weight, bias))


def test_the_operation_is_one_that_pytorch_can_trace():
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this PyTorch has no oneDNN")
    x, weight, bias = (tensor.detach() for tensor in given(30, 20))
    torch.library.opcheck(MODULE._opaque, (x, weight, bias), test_utils=("test_schema", "test_faketensor"))


@pytest.mark.parametrize("bias", [True, False])
def test_a_compiled_product_is_one_graph_and_the_same(bias, asked):
    results = []
    for product in (torch.compile(linear, fullgraph=True), functional.linear):
        torch.manual_seed(0)
        tensors = given(6, 30, 20, bias=bias)
        learning = [tensor for tensor in tensors if tensor is not None]
        results.append(torch.autograd.grad(product(*tensors).relu_().square().sum(), learning))
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize(
    ("said", "least"),
    [
        ("vendor_id : AuthenticAMD\ncpu family : 26\nmodel : 2\n", 3 * 2**21),
        ("vendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 17\n", 2**27),
        ("vendor_id : AuthenticAMD\ncpu family : 23\n", math.inf),
        ("vendor_id : GenuineIntel\ncpu family : 6\n", math.inf),
        ("", math.inf),
    ],
)
def test_the_processor_says_from_what_size_on_the_fast_way_is_taken(said, least, tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text(said)
    monkeypatch.setattr(MODULE, "_CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    assert MODULE._least() == least
