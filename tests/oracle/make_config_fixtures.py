"""Writes tests/fixtures/config: python make_config_fixtures.py ../fixtures/config

transformers-*.json: configurations of the published shapes as transformers writes them.
softmax_scale.json: for each, the scale that transformers' attention layer uses.
The published-*.json files beside them are in the style of the models' releases, by hand.
"""

import argparse
import json
import pathlib

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


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("directory", type=pathlib.Path)
    directory = parser.parse_args().directory
    scales = {}
    for name, config in CONFIGS.items():
        version = config.model_type[-2:].upper()
        config.architectures = [f"Deepseek{version}ForCausalLM"]
        path = directory / f"transformers-{name}.json"
        path.write_text(config.to_json_string())
        scales[path.name] = softmax_scale(AutoConfig.from_pretrained(path))
    (directory / "softmax_scale.json").write_text(json.dumps(scales, indent=2) + "\n")


if __name__ == "__main__":
    main()
