"""Writes tests/fixtures/config: python make_config_fixtures.py ../fixtures/config

transformers-*.json: configurations of the published shapes as transformers writes them.
softmax_scale.json: for each, the scale that transformers' attention layer uses.
The published-*.json files beside them are in the style of the models' releases, by hand.
With --check the directory must instead hold configurations that Fathom wrote
(FATHOM_WRITE_FIXTURES=DIR config_test): transformers must read every value as it stands there.
"""

import argparse
import json
import pathlib
import tempfile

import torch
from transformers import AutoConfig, DeepseekV2Config, DeepseekV3Config
from transformers.models.deepseek_v2.modeling_deepseek_v2 import DeepseekV2Attention
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3Attention


def yarn(mscale, factor=40):
    return dict(
        type="yarn",
        factor=factor,
        original_max_position_embeddings=4096,
        beta_fast=32,
        beta_slow=1,
        mscale=mscale,
        mscale_all_dim=mscale,
    )


V2_LITE = dict(
    hidden_size=2048,
    num_hidden_layers=27,
    first_k_dense_replace=1,
    num_attention_heads=16,
    q_lora_rank=None,
    intermediate_size=10944,
    moe_intermediate_size=1408,
    num_experts_per_tok=6,
    max_position_embeddings=163840,
    rope_scaling=yarn(0.707),
)

CONFIGS = {
    "v3": DeepseekV3Config(),
    "v3-yarn": DeepseekV3Config(max_position_embeddings=163840, rope_scaling=yarn(1.0)),
    "v3-no-mtp": DeepseekV3Config(num_nextn_predict_layers=0, dtype=torch.bfloat16),
    "v3-eos-list": DeepseekV3Config(eos_token_id=[1, 128801], pad_token_id=2),
    "v3-tied": DeepseekV3Config(tie_word_embeddings=True),
    "v3-all-dense": DeepseekV3Config(first_k_dense_replace=61),
    # Neither mscale given: cos and sin carry the magnitude, the softmax scale does not.
    "v3-yarn-plain": DeepseekV3Config(
        rope_scaling=dict(
            rope_type="yarn", factor=8.0, original_max_position_embeddings=4096, beta_fast=16
        )
    ),
    "moonlight": DeepseekV3Config(
        vocab_size=163840,
        hidden_size=2048,
        num_hidden_layers=27,
        first_k_dense_replace=1,
        num_attention_heads=16,
        num_key_value_heads=16,
        q_lora_rank=None,
        intermediate_size=11264,
        moe_intermediate_size=1408,
        n_routed_experts=64,
        n_shared_experts=2,
        num_experts_per_tok=6,
        n_group=1,
        topk_group=1,
        num_nextn_predict_layers=0,
        routed_scaling_factor=2.446,
        rope_theta=50000.0,
        max_position_embeddings=8192,
        rms_norm_eps=1e-5,
        bos_token_id=163584,
        eos_token_id=163586,
    ),
    "v2-lite": DeepseekV2Config(**V2_LITE),
    "v2": DeepseekV2Config(
        **V2_LITE
        | dict(
            hidden_size=5120,
            num_hidden_layers=60,
            num_attention_heads=128,
            q_lora_rank=1536,
            intermediate_size=12288,
            moe_intermediate_size=1536,
            n_routed_experts=160,
            topk_method="group_limited_greedy",
            n_group=8,
            topk_group=3,
            routed_scaling_factor=16.0,
        )
    ),
}


def softmax_scale(config) -> float:
    attention = DeepseekV2Attention if config.model_type == "deepseek_v2" else DeepseekV3Attention
    with torch.device("meta"):
        return attention(config, 0).scaling


def write(directory: pathlib.Path):
    scales = {}
    for name, config in CONFIGS.items():
        version = config.model_type[-2:].upper()
        config.architectures = [f"Deepseek{version}ForCausalLM"]
        path = directory / f"transformers-{name}.json"
        path.write_text(config.to_json_string())
        scales[path.name] = softmax_scale(AutoConfig.from_pretrained(path))
    (directory / "softmax_scale.json").write_text(json.dumps(scales, indent=2) + "\n")


def read_as_transformers(fields: dict):
    """kimi_k2 is DeepSeek-V3 under another name, which transformers does not know."""
    known = fields | {"model_type": fields["model_type"].replace("kimi_k2", "deepseek_v3")}
    with tempfile.TemporaryDirectory() as directory:
        (pathlib.Path(directory) / "config.json").write_text(json.dumps(known))
        return AutoConfig.from_pretrained(directory)


def check(directory: pathlib.Path):
    files = sorted(directory.glob("*.json"))
    assert files, f"{directory} holds no configuration"
    for path in files:
        fields = json.loads(path.read_text())
        config = read_as_transformers(fields)
        rope = (fields.pop("rope_scaling") or {}) | {"rope_theta": fields.pop("rope_theta")}
        assert rope.items() <= config.rope_parameters.items(), (path, config.rope_parameters)
        assert config.rope_parameters["rope_type"] == rope.get("type", "default"), path
        assert config.dtype == getattr(torch, fields.pop("torch_dtype")), path
        fields.pop("model_type")
        for name, value in fields.items():
            assert getattr(config, name) == value, (path, name, getattr(config, name))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    (check if arguments.check else write)(arguments.directory)


if __name__ == "__main__":
    main()
