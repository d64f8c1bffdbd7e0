"""Scores of an untrained network from one batch, after the papers that propose them."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

ACTIVATIONS = (nn.ReLU, nn.GELU, nn.Tanh)
NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)


def naswot(model: nn.Module, inputs: Tensor) -> float:
    """Return log |det H|, where H counts the units that two inputs (n, ...) switch alike.

    A unit is on where the input of its activation is positive.  The score is -inf if H is singular.

    Reference: Mellor et al., "Neural architecture search without training", ICML 2021.
    """
    model = copy.deepcopy(model).train()  # with the batch's own statistics, as in the paper
    activated: list[Tensor] = []
    for module in model.modules():
        if isinstance(module, ACTIVATIONS):
            module.register_forward_pre_hook(lambda _, x: activated.append(x[0]))
    with torch.no_grad():
        model(inputs)
    on = torch.cat([(x > 0).flatten(1) for x in activated], dim=1).double()
    alike = on @ on.T + (1 - on) @ (1 - on).T
    return float(torch.linalg.slogdet(alike).logabsdet)


def synflow_log(model: nn.Module, input_shape: tuple[int, ...]) -> float:
    """Return the log of the synaptic flow: sum of theta dR/dtheta with all weights positive.

    R is the sum of the outputs for an input of ones.  Normalisations and activations are left
    out: on positive signals ReLU changes nothing, and the others would stop the flow.

    Reference: Tanaka et al., "Pruning neural networks without any data by iteratively
    conserving synaptic flow", NeurIPS 2020.
    """
    linear = _without(copy.deepcopy(model), (*ACTIVATIONS, *NORMALISATIONS)).double()
    with torch.no_grad():
        for parameter in linear.parameters():
            parameter.abs_()
    weights = list(linear.parameters())
    ones = torch.ones(1, *input_shape, dtype=torch.float64, device=weights[0].device)
    flow: Tensor = linear(ones).sum()
    gradients = torch.autograd.grad(flow, weights)
    with torch.no_grad():
        terms = [(w * g).sum() for w, g in zip(weights, gradients, strict=True)]
        return float(torch.stack(terms).sum().log())


def gradient_norm(model: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """Return the Euclidean norm of the gradient of cross-entropy, in training mode.

    Reference: Abdelfattah et al., "Zero-cost proxies for lightweight NAS", ICLR 2021.
    """
    model = copy.deepcopy(model).train()
    loss = nn.functional.cross_entropy(model(inputs), labels)
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    return float(torch.stack([g.square().sum() for g in gradients]).sum().sqrt())


def snip(model: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """Return the sum of |theta dL/dtheta| over weight matrices and kernels, in training mode.

    Reference: Lee et al., "SNIP: single-shot network pruning based on connection sensitivity",
    ICLR 2019; summed over the network by Abdelfattah et al., ICLR 2021.
    """
    model = copy.deepcopy(model).train()
    loss = nn.functional.cross_entropy(model(inputs), labels)
    weights = [p for p in model.parameters() if p.dim() > 1]
    gradients = torch.autograd.grad(loss, weights)
    with torch.no_grad():
        terms = [(w * g).abs().sum() for w, g in zip(weights, gradients, strict=True)]
        return float(torch.stack(terms).sum())


def jacobian_covariance(model: nn.Module, inputs: Tensor) -> float:
    """Return a score of how differently the outputs depend on each input (n, ...).

    It is -sum(log(v + k) + 1 / (v + k)) over the eigenvalues v of the correlation matrix of the n
    Jacobians, with k = 1e-5.

    Reference: Mellor et al., "Neural architecture search without training", first version, 2020;
    as in Abdelfattah et al., "Zero-cost proxies for lightweight NAS", ICLR 2021.
    """
    model = copy.deepcopy(model).train()
    inputs = inputs.clone().requires_grad_()
    (jacobians,) = torch.autograd.grad(model(inputs).sum(), inputs)
    shifted = torch.linalg.eigvalsh(torch.corrcoef(jacobians.flatten(1).double())) + 1e-5
    return float(-(shifted.log() + 1 / shifted).sum())


def _without(model: nn.Module, kinds: tuple[type[nn.Module], ...]) -> nn.Module:
    """Replace modules of these kinds by the identity, in place, and return the model."""
    for name, child in model.named_children():
        if isinstance(child, kinds):
            setattr(model, name, nn.Identity())
        else:
            _without(child, kinds)
    return model
