"""Multi-token prediction modules (DeepSeek-V3 report, section 2.2, equations 21-25).

Depth k = 1..D is checkpoint layer num_hidden_layers + k - 1. For position i, with t the tokens,

    h'^k_i = eh_proj [ enorm(Emb(t_{i+k})) ; hnorm(h^{k-1}_i) ]      embedding first, as published
    h^k    = shared_head.norm(block_k(h'^k))                        a decoder layer with MoE
    logits^k_i = lm_head h^k_i                                       predicts t_{i+k+1}

h^0 is the main model's hidden state after its final norm, and the chain to depth k+1 likewise takes
h^k after shared_head.norm (what transformers' own MtpModel does). Embedding and head are the main
model's; the checkpoint's copies of them are not read. Positions for rope are i = 0, 1, ... at every
depth; since rope is relative, numbering them from k, as some engines do, changes nothing.
"""

import torch

from reference import Reference, cross_entropy


def mtp_hidden(model: Reference, depth: int, previous_BTD, ids_BT, routing=None):
    """h^depth from h^{depth-1} [B,T,D] and ids [B,T], the tokens t_{i+depth} of its positions."""
    layer = model.config["num_hidden_layers"] + depth - 1
    name = f"model.layers.{layer}"
    embedding = model.norm(model.embed(ids_BT), f"{name}.enorm")
    previous = model.norm(previous_BTD, f"{name}.hnorm")
    x = model.linear(torch.cat([embedding, previous], dim=-1), f"{name}.eh_proj")
    return model.norm(model.block(x, layer, routing), f"{name}.shared_head.norm")


def mtp_logits(model: Reference, hidden_BTD, ids_BT, routing=None) -> list:
    """Logits of every depth over one sequence: depth k gives [B, T-k, V]."""
    logits = []
    for depth in range(1, model.config["num_nextn_predict_layers"] + 1):
        hidden_BTD = mtp_hidden(model, depth, hidden_BTD[:, :-1], ids_BT[:, depth:], routing)
        logits.append(model.head(hidden_BTD))
    return logits


def mtp_losses(logits: list, ids_BT) -> list:
    """Mean cross-entropy of each depth over its T-k-1 positions whose target is in the sequence."""
    return [
        cross_entropy(logits_BTV[:, :-1], ids_BT[:, depth + 1 :])
        for depth, logits_BTV in enumerate(logits, start=1)
    ]
