"""The tiny model configurations that Fathom is checked on: every variant of the architecture.

`CASES` are the fixed ones, from which the committed fixtures are made (make_fixtures.py); `vary`
draws a fresh random shape of the same variant for the live comparison (compare.py).

A configuration is written in the field names of the published config.json files. What
transformers reads differently from the published reference code is noted where it matters.
"""

import dataclasses
import random

V3 = dict(
    model_type="deepseek_v3",
    vocab_size=56,
    hidden_size=24,
    num_hidden_layers=2,
    first_k_dense_replace=1,
    num_nextn_predict_layers=0,
    num_attention_heads=4,
    q_lora_rank=16,
    kv_lora_rank=16,
    qk_nope_head_dim=8,
    qk_rope_head_dim=8,
    v_head_dim=8,
    intermediate_size=40,
    moe_intermediate_size=8,
    n_routed_experts=8,
    n_shared_experts=1,
    num_experts_per_tok=3,
    n_group=4,
    topk_group=2,
    scoring_func="sigmoid",
    topk_method="noaux_tc",
    norm_topk_prob=True,
    routed_scaling_factor=2.5,
    rope_theta=10000.0,
    rope_scaling=None,
    max_position_embeddings=512,
    rms_norm_eps=1e-6,
    initializer_range=0.2,
    tie_word_embeddings=False,
)

V2_LITE = V3 | dict(
    model_type="deepseek_v2",
    q_lora_rank=None,
    n_shared_experts=2,
    n_group=1,
    topk_group=1,
    scoring_func="softmax",
    topk_method="greedy",
    norm_topk_prob=False,
    routed_scaling_factor=1.0,
)

V2 = V2_LITE | dict(
    q_lora_rank=16,
    n_group=4,
    topk_group=2,
    topk_method="group_limited_greedy",
    routed_scaling_factor=16.0,
)


def yarn(factor, original, mscale=1.0, mscale_all_dim=1.0, beta_slow=1.0):
    """YaRN in the published fields. `original` is small, so that short sequences pass it."""
    scaling = dict(
        type="yarn",
        factor=float(factor),
        original_max_position_embeddings=original,
        beta_fast=32.0,
        beta_slow=beta_slow,
        mscale=mscale,
        mscale_all_dim=mscale_all_dim,
    )
    return dict(rope_scaling=scaling, max_position_embeddings=factor * original)


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    config: dict
    tokens: int = 24  # sequence length of the golden fixture
    dtype: str = "float32"  # storage of the checkpoint
    # "transformers": config.json as transformers 5 writes it (rope_parameters, dtype);
    # "published": as the models were released (rope_theta, rope_scaling, torch_dtype).
    style: str = "transformers"
    # Extra scale of kv_a_proj and q_a_proj. A small latent makes the eps of its RMSNorm visible:
    # transformers and the reference code use 1e-6 there whatever rms_norm_eps says.
    latent_scale: float = 1.0


CASES = [
    Case("v3", V3 | dict(num_hidden_layers=3)),
    Case(
        "v3-no-q-lora",
        V3 | dict(q_lora_rank=None, first_k_dense_replace=0),
        dtype="bfloat16",
    ),
    Case(
        "v3-yarn",
        V3 | yarn(40, 16) | dict(qk_rope_head_dim=32, num_attention_heads=2),
        style="published",
        dtype="bfloat16",
    ),
    Case(
        "v3-yarn-mscale-0.707",
        V3 | yarn(40, 8, 0.707, 0.707, beta_slow=0.2) | dict(qk_rope_head_dim=16),
        dtype="bfloat16",
    ),
    # mscale differs from mscale_all_dim: cos and sin carry the ratio of the two factors.
    Case(
        "v3-yarn-mscale-ratio",
        V3 | yarn(8, 16, 1.0, 0.6),
        dtype="bfloat16",
    ),
    # transformers ignores rms_norm_eps in q_a_layernorm and kv_a_layernorm: they have 1e-6.
    Case(
        "moonlight",
        V3
        | dict(
            q_lora_rank=None,
            n_group=1,
            topk_group=1,
            n_shared_experts=2,
            rope_theta=50000.0,
            rms_norm_eps=1e-5,
            routed_scaling_factor=2.446,
        ),
        latent_scale=0.05,
        style="published",
    ),
    Case(
        "kimi-k2",
        V3
        | yarn(32, 16)
        | dict(
            n_group=1,
            topk_group=1,
            n_routed_experts=12,
            rope_theta=50000.0,
            routed_scaling_factor=2.827,
        ),
        style="published",
        dtype="bfloat16",
    ),
    # transformers' V2 never normalises the gate: norm_topk_prob must be false, as it was released.
    Case("v2-lite", V2_LITE | yarn(40, 16, 0.707, 0.707), style="published"),
    Case("v2", V2 | yarn(40, 16), dtype="bfloat16"),
    Case(
        "v3-dense-2",
        V3 | dict(num_hidden_layers=3, first_k_dense_replace=2, num_experts_per_tok=2),
        dtype="bfloat16",
    ),
    Case("all-dense", V3 | dict(first_k_dense_replace=2), dtype="bfloat16"),
    Case(
        "odd-shapes",
        V3
        | dict(
            vocab_size=71,
            hidden_size=39,
            num_attention_heads=3,
            q_lora_rank=13,
            kv_lora_rank=11,
            qk_nope_head_dim=9,
            qk_rope_head_dim=6,
            v_head_dim=7,
            intermediate_size=37,
            moe_intermediate_size=5,
            n_routed_experts=15,
            n_group=5,
            topk_group=3,
            num_experts_per_tok=5,
            n_shared_experts=2,
        ),
        tokens=29,
    ),
    Case("tied", V3 | dict(tie_word_embeddings=True), dtype="bfloat16"),
    Case("v3-mtp", V3 | dict(num_nextn_predict_layers=1)),
    Case(
        "v3-mtp-2",
        V3 | yarn(40, 16) | dict(num_nextn_predict_layers=2),
        style="published",
        dtype="bfloat16",
    ),
]


def vary(case: Case, rng: random.Random) -> Case:
    """A random shape of the same variant: gating method, rope kind, depth of MTP are kept."""
    config = dict(case.config)
    heads = rng.choice([1, 2, 3, 4, 6])
    # transformers' V2 wants hidden_size divisible by the heads, and views rope as complex numbers
    # in place, which needs even ranks and head sizes.
    even = 2 if config["model_type"] == "deepseek_v2" else 1
    unit = 4 * heads if even == 2 else rng.choice([1, 8, 16])
    config.update(
        num_attention_heads=heads,
        hidden_size=unit * rng.randint(-(-32 // unit), 96 // unit),
        vocab_size=rng.randint(60, 300),
        kv_lora_rank=even * rng.randint(8, 24),
        qk_nope_head_dim=even * rng.randint(4, 20),
        qk_rope_head_dim=2 * rng.randint(2, 20),
        v_head_dim=rng.randint(4, 40),
        intermediate_size=rng.randint(16, 100),
        moe_intermediate_size=rng.randint(4, 40),
        n_shared_experts=rng.randint(1, 3),
    )
    if config["q_lora_rank"] is not None:
        config["q_lora_rank"] = rng.randint(8, 48)
    if config["n_group"] > 1:
        config["n_group"] = rng.randint(2, 6)
        config["topk_group"] = rng.randint(1, config["n_group"])
    group_size = rng.randint(2, 5) if config["n_group"] > 1 else rng.randint(4, 20)
    config["n_routed_experts"] = config["n_group"] * group_size
    config["num_experts_per_tok"] = rng.randint(1, min(6, config["topk_group"] * group_size))
    # Keeps products of random matrices near unit size: logits neither vanish nor explode.
    config["initializer_range"] = rng.uniform(0.7, 1.3) / config["hidden_size"] ** 0.5
    return dataclasses.replace(case, config=config, tokens=rng.randint(5, 80))


def for_bf16(case: Case) -> Case:
    """The case stored in BF16, with few tokens and layers that add little to the residual stream.

    Rounding activations to BF16 costs about 1% of the logits; a token that this sends to other
    experts costs far more. compare.py therefore takes sequences whose routing is clear-cut, and
    few tokens make those easy to find.
    """
    config = case.config | dict(initializer_range=0.45 * case.config["initializer_range"])
    return dataclasses.replace(case, config=config, dtype="bfloat16", tokens=8)
