"""Random checkpoints in Hugging Face layout, and the way back from a directory to tensors.

`build` has transformers initialise and save a model of a `configs.Case`, seeded, after randomising
what initialisation leaves trivial (norm weights 1, correction bias 0) so that a wrong use of them
shows; then adds the tensors of the MTP modules, which transformers' model class does not have.
"""

import json
import pathlib

import torch
import transformers
from safetensors.torch import load_file, save_file

from configs import Case

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

# Fields that only transformers 5 writes, and their names in the published files.
_TRANSFORMERS_ONLY = ("rope_parameters", "dtype", "head_dim", "qk_head_dim", "rope_interleave")


def hf_config(case: Case) -> transformers.PretrainedConfig:
    fields = dict(case.config)
    cls = {
        "deepseek_v3": transformers.DeepseekV3Config,
        "deepseek_v2": transformers.DeepseekV2Config,
    }[fields.pop("model_type")]
    return cls(num_key_value_heads=fields["num_attention_heads"], **fields)


@torch.no_grad()
def _randomise(model: torch.nn.Module, case: Case) -> None:
    for name, parameter in model.named_parameters():
        if "norm" in name:
            parameter.normal_(1.0, 0.3)
        if "q_a_proj" in name or "kv_a_proj" in name:
            parameter.mul_(case.latent_scale)
    for name, buffer in model.named_buffers():
        if name.endswith("e_score_correction_bias"):
            buffer.normal_(0.0, 0.1)


def random_model(case: Case, seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(hf_config(case), dtype=torch.float32)
    _randomise(model, case)
    return model.eval()


def _mtp_tensors(case: Case, tensors: dict) -> dict:
    """Layer num_hidden_layers+k for k < D: a decoder layer shaped as the last one, which is MoE."""
    layers, width = case.config["num_hidden_layers"], case.config["hidden_size"]
    like, std = f"model.layers.{layers - 1}.", case.config["initializer_range"]
    result = {}
    for depth in range(case.config["num_nextn_predict_layers"]):
        prefix = f"model.layers.{layers + depth}."
        for name in sorted(name for name in tensors if name.startswith(like)):
            noise = torch.randn(tensors[name].shape)
            value = 1 + 0.3 * noise if "norm" in name else noise * std
            result[prefix + name.removeprefix(like)] = value
        for norm in ("enorm", "hnorm", "shared_head.norm"):
            result[f"{prefix}{norm}.weight"] = 1 + 0.3 * torch.randn(width)
        result[prefix + "eh_proj.weight"] = torch.randn(width, 2 * width) * std
        result[prefix + "embed_tokens.weight"] = tensors["model.embed_tokens.weight"].clone()
        result[prefix + "shared_head.head.weight"] = tensors["lm_head.weight"].clone()
    return result


def _write_published_config(path: pathlib.Path, case: Case) -> None:
    """Rewrites config.json with the field names of the released models."""
    written = json.loads(path.read_text())
    fields = {key: value for key, value in written.items() if key not in _TRANSFORMERS_ONLY}
    fields |= case.config | dict(torch_dtype=case.dtype)
    path.write_text(json.dumps(dict(sorted(fields.items())), indent=2) + "\n")


def build(case: Case, seed: int, directory: pathlib.Path) -> None:
    """Writes config.json and model.safetensors, one file, MTP tensors included."""
    model = random_model(case, seed)
    model.config.architectures = [type(model).__name__]
    model.config.dtype = case.dtype
    model.save_pretrained(directory)
    (directory / "generation_config.json").unlink()
    if case.style == "published":
        _write_published_config(directory / "config.json", case)
    tensors = load_file(directory / "model.safetensors")
    tensors |= _mtp_tensors(case, tensors)
    for name, value in tensors.items():
        if not name.endswith("e_score_correction_bias"):  # F32 in every published checkpoint
            tensors[name] = value.to(getattr(torch, case.dtype))
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})


def read_config(directory: pathlib.Path) -> dict:
    """config.json in published field names, whichever of the two styles it is written in."""
    config = json.loads((directory / "config.json").read_text())
    rope = config.pop("rope_parameters", None)
    if rope is not None:
        config["rope_theta"] = rope["rope_theta"]
        config["rope_scaling"] = rope if rope["rope_type"] == "yarn" else None
    return config


def read_tensors(directory: pathlib.Path) -> dict:
    """Every tensor of every safetensors file of a checkpoint directory."""
    tensors = {}
    for path in sorted(directory.glob("*.safetensors")):
        tensors |= load_file(path)
    return tensors
