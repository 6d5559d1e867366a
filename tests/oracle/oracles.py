"""What a checkpoint must give for a token sequence, by both oracles."""

import pathlib

import torch
import transformers
from transformers.modeling_layers import MtpModel

from checkpoints import read_config, read_tensors
from mtp import mtp_logits, mtp_losses
from reference import Reference, balance_loss, cross_entropy


def relative_error(actual, expected) -> float:
    """||a - b|| / ||b||, in FP64; infinite when a NaN or an infinity stands in `actual`."""
    a, b = actual.double(), expected.double()
    if a.shape != b.shape:
        raise ValueError(f"shape {tuple(a.shape)}, expected {tuple(b.shape)}")
    error = (a - b).norm() / b.norm().clamp_min(1e-300)
    return error.item() if torch.isfinite(error) else float("inf")


def max_error(actual, expected) -> float:
    """max|a - b| / max|b|, in FP64."""
    error = (actual.double() - expected.double()).abs().max() / expected.double().abs().max()
    return error.item() if torch.isfinite(error) else float("inf")


class Expected:
    """One forward of the FP64 reference over a sequence of ids, and gradients of its losses."""

    def __init__(self, directory: pathlib.Path, ids: list[int]):
        self.model = Reference(read_config(directory), read_tensors(directory))
        self.ids = torch.tensor([ids])
        self.routing = []
        hidden = self.model.hidden(self.ids, self.routing)
        self.main_routing = list(self.routing)
        self.logits = self.model.head(hidden)
        self.mtp_logits = mtp_logits(self.model, hidden, self.ids, self.routing)
        self.loss = cross_entropy(self.logits[:, :-1], self.ids[:, 1:])
        self.mtp_losses = mtp_losses(self.mtp_logits, self.ids)

    def margin(self) -> float:
        """By how much the closest routing decision was taken."""
        return min((entry.margin for entry in self.routing), default=float("inf"))

    def balance_loss(self, alpha: float):
        """Of the main model's MoE layers."""
        return balance_loss(self.model.config, self.main_routing, alpha)

    def total_loss(self, mtp_lambda: float):
        return self.loss + mtp_lambda * sum(self.mtp_losses) / len(self.mtp_losses)

    def gradients(self, loss) -> dict:
        """By Hugging Face name; zero for an expert that no token chose."""
        names, values = zip(*self.model.parameters.items())
        found = torch.autograd.grad(
            loss, values, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        return dict(zip(names, found))


class Transformers:
    """AutoModelForCausalLM of a checkpoint, and transformers' own MTP layers where it has some."""

    def __init__(self, directory: pathlib.Path, dtype=torch.float32):
        self.model = transformers.AutoModelForCausalLM.from_pretrained(
            directory,
            dtype=dtype,
            experts_implementation="eager",  # the others want aligned widths
        ).eval()

    def logits(self, ids: list[int]):
        """[T,V]."""
        with torch.no_grad():
            return self.model(torch.tensor([ids])).logits[0]

    def mtp_logits(self, ids: list[int]) -> list:
        """Depth k: [T-k,V]. Positions count from k here and from 0 in mtp.py: no difference."""
        config = self.model.config
        layers = range(config.num_hidden_layers, config.num_hidden_layers + config.num_mtp_layers)
        # MtpModel finds the MTP tensors by these patterns; the class only names V3's layer 61.
        self.model._keys_to_ignore_on_load_unexpected = {rf"model\.layers\.{n}\." for n in layers}
        mtp = MtpModel.from_pretrained(self.model)
        tokens, result = torch.tensor([ids]), []
        with torch.no_grad():
            hidden = self.model.model(tokens).last_hidden_state
            for index in range(len(layers)):
                inputs = tokens[:, index + 1 :]
                positions = torch.arange(index + 1, len(ids))[None]
                hidden = mtp.forward_layer(index, hidden[:, :-1], positions, None, inputs)
                result.append(self.model.lm_head(hidden)[0])
        return result

    def gradients(self, ids: list[int]) -> dict:
        """Of the mean next-token loss, under the names of the checkpoint's tensors."""
        self.model.zero_grad()
        logits = self.model(torch.tensor([ids])).logits[0]
        torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(ids[1:])).backward()
        result = {}
        for name, parameter in self.model.named_parameters():
            result |= _split_experts(name, parameter.grad)
        return result


def _split_experts(name: str, value) -> dict:
    """Undoes transformers' merging of the experts' matrices into gate_up_proj and down_proj."""
    prefix, _, matrix = name.rpartition(".")
    if matrix == "gate_up_proj":
        parts = {"gate_proj": value.chunk(2, dim=1)[0], "up_proj": value.chunk(2, dim=1)[1]}
    elif matrix == "down_proj":
        parts = {"down_proj": value}
    else:
        return {name: value}
    return {
        f"{prefix}.{index}.{part}.weight": matrix
        for part, stacked in parts.items()
        for index, matrix in enumerate(stacked)
    }


def worst_gradient_error(actual: dict, expected: dict) -> tuple[float, str]:
    """Largest relative error of a parameter's gradient, and the parameter.

    ||a - b|| / max(||b||, floor), where the floor is 1e-3 of the RMS gradient of the whole model
    times the root of the parameter's size: a tensor whose gradient is that far below the others'
    carries the rounding noise of sums that cancel, which says nothing about correctness.
    """
    if actual.keys() != expected.keys():
        raise ValueError(f"gradients differ in names: {sorted(actual.keys() ^ expected.keys())}")
    squares = sum(value.double().square().sum() for value in expected.values())
    rms = (squares / sum(value.numel() for value in expected.values())).sqrt()
    worst = (0.0, "")
    for name, b in expected.items():
        scale = torch.maximum(b.double().norm(), 1e-3 * rms * b.numel() ** 0.5)
        error = (actual[name].double() - b.double()).norm() / scale
        worst = max(worst, (error.item() if torch.isfinite(error) else float("inf"), name))
    return worst
