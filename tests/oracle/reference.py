"""DeepSeek-V2/V3 written from the equations, in plain PyTorch, in any floating-point type.

The second oracle beside transformers: it runs in FP64 throughout (transformers' model computes
norms, softmax, rope and the gate in FP32 whatever its dtype), works on tensors under their
Hugging Face names, so that autograd's gradients come out under those names, and knows what
transformers' class leaves out: MTP modules (mtp.py), the sequence-wise balance loss, expert loads
and the margin by which each routing decision was taken. make_fixtures.py and compare.py check it
against transformers on every case, so each vouches for the other.

Shapes: B sequences, T tokens, D model, H heads, E experts, K chosen experts, V vocabulary.
Sources: DeepSeek-V3 technical report (arXiv 2412.19437), sections 2.1 and 2.2; DeepSeek-V2
(arXiv 2405.04434), appendix C; YaRN (arXiv 2309.00071).
"""

import dataclasses
import math

import torch
import torch.nn.functional as F

LATENT_EPS = 1e-6  # of q_a_layernorm and kv_a_layernorm: not rms_norm_eps, as in the released code


@dataclasses.dataclass
class Routing:
    """What one MoE layer decided. Scores are before the bias; all [B,T,...]."""

    layer: int
    scores_BTE: torch.Tensor
    chosen_BTK: torch.Tensor
    margin: float  # smallest distance between a kept and a rejected score, of experts or groups

    def load_E(self) -> torch.Tensor:
        return torch.bincount(self.chosen_BTK.flatten(), minlength=self.scores_BTE.shape[-1])


def rms_norm(x, weight, eps):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * weight


def yarn_mscale(factor, mscale):
    return 0.1 * mscale * math.log(factor) + 1.0 if factor > 1 else 1.0


def rope_frequencies(config) -> torch.Tensor:
    """Angle per position of each pair [R/2], F64; blended by YaRN where configured."""
    dim, theta, yarn = config["qk_rope_head_dim"], config["rope_theta"], config["rope_scaling"]
    frequencies = theta ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    if yarn is None:
        return frequencies

    def correction(rotations):
        length = yarn["original_max_position_embeddings"]
        return dim * math.log(length / (rotations * 2 * math.pi)) / (2 * math.log(theta))

    low = max(math.floor(correction(yarn["beta_fast"])), 0)
    high = min(math.ceil(correction(yarn["beta_slow"])), dim - 1)
    high = high + 0.001 if high == low else high
    ramp = ((torch.arange(dim // 2, dtype=torch.float64) - low) / (high - low)).clamp(0, 1)
    return frequencies / yarn["factor"] * ramp + frequencies * (1 - ramp)


def rope_scales(config) -> tuple[float, float]:
    """(factor on cos and sin, factor on the softmax scale); both 1 without YaRN."""
    yarn = config["rope_scaling"]
    if yarn is None:
        return 1.0, 1.0
    every = yarn_mscale(yarn["factor"], yarn["mscale_all_dim"])
    return yarn_mscale(yarn["factor"], yarn["mscale"]) / every, every**2


def rotate(x_BTHR, frequencies, scale):
    """Rotates the interleaved pairs (x[2i], x[2i+1]) by position times frequency."""
    positions = torch.arange(x_BTHR.shape[1], dtype=torch.float64)
    angle_TI = positions[:, None] * frequencies[None, :]
    cos = (angle_TI.cos() * scale).to(x_BTHR.dtype)[None, :, None, :]
    sin = (angle_TI.sin() * scale).to(x_BTHR.dtype)[None, :, None, :]
    even, odd = x_BTHR[..., 0::2], x_BTHR[..., 1::2]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)


def _gap(scores, count):
    """Distance between the count-th and the next highest of the last axis; infinite if all stay."""
    if count >= scores.shape[-1]:
        return math.inf
    top = scores.topk(count + 1, dim=-1).values
    return (top[..., count - 1] - top[..., count]).min().item()


class Reference:
    """A model: configuration in published names, and its tensors by Hugging Face name."""

    def __init__(self, config: dict, tensors: dict, dtype=torch.float64):
        self.config = config
        self.parameters, self.biases = {}, {}
        for name, value in tensors.items():
            if name.endswith("e_score_correction_bias"):
                self.biases[name] = value.to(dtype)
            elif not self._is_copy(name):
                self.parameters[name] = value.detach().to(dtype).requires_grad_()

    def _is_copy(self, name) -> bool:
        """The embedding and head that an MTP layer repeats; a head tied to the embedding."""
        if name == "lm_head.weight":
            return self.config["tie_word_embeddings"]
        return name.startswith("model.layers.") and name.endswith(
            (".embed_tokens.weight", ".shared_head.head.weight")
        )

    def is_mtp(self, name) -> bool:
        """Whether a parameter is of an MTP module: layer num_hidden_layers or beyond."""
        parts = name.split(".")
        return parts[1] == "layers" and int(parts[2]) >= self.config["num_hidden_layers"]

    def weight(self, name):
        return self.parameters[name + ".weight"]

    def linear(self, x, name):
        return x @ self.weight(name).T

    def norm(self, x, name, eps=None):
        return rms_norm(x, self.weight(name), self.config["rms_norm_eps"] if eps is None else eps)

    def embed(self, ids_BT):
        return self.weight("model.embed_tokens")[ids_BT]

    def head(self, hidden_BTD):
        tied = self.config["tie_word_embeddings"]
        return self.linear(hidden_BTD, "model.embed_tokens" if tied else "lm_head")

    def hidden(self, ids_BT, routing: list | None = None):
        """Hidden states after the final norm [B,T,D]. Appends each MoE layer's Routing."""
        x = self.embed(ids_BT)
        for layer in range(self.config["num_hidden_layers"]):
            x = self.block(x, layer, routing)
        return self.norm(x, "model.norm")

    def block(self, x, layer, routing):
        name = f"model.layers.{layer}"
        x = x + self.attention(self.norm(x, f"{name}.input_layernorm"), f"{name}.self_attn")
        u = self.norm(x, f"{name}.post_attention_layernorm")
        if layer < self.config["first_k_dense_replace"]:
            return x + self.mlp(u, f"{name}.mlp")
        return x + self.moe(u, layer, routing)

    def attention(self, x, name):
        """Multi-head latent attention (report section 2.1.1), causal."""
        c = self.config
        nope, rope, value = c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["v_head_dim"]
        heads, shape = c["num_attention_heads"], x.shape[:2]
        if c["q_lora_rank"] is None:
            q = self.linear(x, f"{name}.q_proj")
        else:
            q = self.norm(self.linear(x, f"{name}.q_a_proj"), f"{name}.q_a_layernorm", LATENT_EPS)
            q = self.linear(q, f"{name}.q_b_proj")
        q_nope, q_rope = q.view(*shape, heads, nope + rope).split([nope, rope], dim=-1)
        compressed = self.linear(x, f"{name}.kv_a_proj_with_mqa")
        latent, k_rope = compressed.split([c["kv_lora_rank"], rope], dim=-1)
        latent = self.norm(latent, f"{name}.kv_a_layernorm", LATENT_EPS)
        kv = self.linear(latent, f"{name}.kv_b_proj").view(*shape, heads, nope + value)
        k_nope, v = kv.split([nope, value], dim=-1)

        frequencies, (scale, softmax_factor) = rope_frequencies(c), rope_scales(c)
        q_rope = rotate(q_rope, frequencies, scale)
        k_rope = rotate(k_rope[:, :, None], frequencies, scale)[:, :, 0]  # one head for all queries
        scores = torch.einsum("bihd,bjhd->bhij", q_nope, k_nope)
        scores = scores + torch.einsum("bihr,bjr->bhij", q_rope, k_rope)
        scores = scores * (softmax_factor / math.sqrt(nope + rope))
        future = torch.ones(shape[1], shape[1], dtype=torch.bool).triu(1)
        weights = scores.masked_fill(future, -math.inf).softmax(-1)
        out = torch.einsum("bhij,bjhv->bihv", weights, v).flatten(-2)
        return self.linear(out, f"{name}.o_proj")

    def mlp(self, x, name):
        gate, up = self.linear(x, f"{name}.gate_proj"), self.linear(x, f"{name}.up_proj")
        return self.linear(F.silu(gate) * up, f"{name}.down_proj")

    def moe(self, x, layer, routing):
        name = f"model.layers.{layer}.mlp"
        weight_BTK, chosen_BTK = self.gate(x, layer, routing)
        out = self.mlp(x, f"{name}.shared_experts")
        for expert in range(self.config["n_routed_experts"]):
            coefficient = (weight_BTK * (chosen_BTK == expert)).sum(-1, keepdim=True)
            if coefficient.any():
                b, t = coefficient[..., 0].nonzero(as_tuple=True)
                y = self.mlp(x[b, t], f"{name}.experts.{expert}") * coefficient[b, t]
                out = out.index_put((b, t), y, accumulate=True)
        return out

    def gate(self, x, layer, routing):
        """Report equations 13-16 and the released group-limited selection."""
        c, name = self.config, f"model.layers.{layer}.mlp.gate"
        logits = self.linear(x, name)
        sigmoid = c["scoring_func"] == "sigmoid"
        scores = logits.sigmoid() if sigmoid else logits.softmax(-1)
        choice = scores.detach()
        if c["topk_method"] == "noaux_tc":
            choice = choice + self.biases[f"{name}.e_score_correction_bias"]
        choice, margin = self.limit_groups(choice)
        chosen = choice.topk(c["num_experts_per_tok"], dim=-1).indices
        weights = scores.gather(-1, chosen)
        if c["norm_topk_prob"]:
            weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
        if routing is not None:
            margin = min(margin, _gap(choice, c["num_experts_per_tok"]))
            routing.append(Routing(layer, scores, chosen, margin))
        return weights * c["routed_scaling_factor"], chosen

    def limit_groups(self, choice):
        """Masks all but the topk_group best groups with minus infinity."""
        c = self.config
        if c["topk_method"] == "greedy" or c["n_group"] == 1:
            return choice, math.inf
        grouped = choice.unflatten(-1, (c["n_group"], -1))
        if c["topk_method"] == "noaux_tc":
            group_scores = grouped.topk(2, dim=-1).values.sum(-1)
        else:
            group_scores = grouped.amax(-1)
        best = group_scores.topk(c["topk_group"], dim=-1).indices
        keep = torch.zeros_like(group_scores, dtype=torch.bool).scatter(-1, best, True)
        limited = grouped.masked_fill(~keep[..., None], -math.inf).flatten(-2)
        return limited, _gap(group_scores, c["topk_group"])


def cross_entropy(logits, targets):
    """Mean over all positions, nats."""
    return F.cross_entropy(logits.flatten(0, -2), targets.flatten())


def balance_loss(config, routing: list, alpha: float):
    """Sequence-wise balance loss (report equations 17-20): mean over sequences, sum over layers.

    As printed in equation 18, f counts the top-k of the un-biased scores over all experts: neither
    the correction bias nor the group limit enters.
    """
    experts, top_k = config["n_routed_experts"], config["num_experts_per_tok"]
    total = 0.0
    for entry in routing:
        scores = entry.scores_BTE
        selected = torch.zeros_like(scores).scatter(-1, scores.topk(top_k, dim=-1).indices, 1.0)
        f_BE = selected.mean(1) * experts / top_k
        p_BE = (scores / scores.sum(-1, keepdim=True)).mean(1)
        total = total + alpha * (f_BE * p_BE).sum(-1).mean()
    return total
