"""Writes pruning_*.safetensors: what official code of token pruning chooses, merges and weighs.

    python tests/golden/make/pruning.py --tome DIR --draft DIR --h2o DIR --seqboat DIR --longmamba DIR --dynamicvit DIR

DIR are clones of facebookresearch/ToMe, furiosa-ai/draft-based-approx-llm, FMInference/H2O,
renll/SeqBoat, GATECH-EIC/LongMamba and raoyongming/DynamicViT that hold the commits below. Runs in
f64 where the code lets it. Positions are i32.
"""

import argparse
import contextlib
import sys
import types

import torch
from official import Golden, Repository, weights

COMMAND = (
    "python tests/golden/make/pruning.py --tome DIR --draft DIR --h2o DIR --seqboat DIR "
    "--longmamba DIR --dynamicvit DIR"
)
REPOSITORIES = {
    "tome": Repository("facebookresearch/ToMe", "af95e4b1befa172dadccd8c81e223b10090f9579"),
    "draft": Repository("furiosa-ai/draft-based-approx-llm", "d79e404438e086ece83d1e5087c94bfca5c47bc6"),
    "h2o": Repository("FMInference/H2O", "ac75c2a8a9e76832b2a4139b9363373b56336bfb"),
    "seqboat": Repository("renll/SeqBoat", "5a34aed3c573858630ec64b0f2c4a22948962947"),
    "longmamba": Repository("GATECH-EIC/LongMamba", "5da3e1705ddca336f2df728c6a7e3bf2238a0f3b"),
    "dynamicvit": Repository("raoyongming/DynamicViT", "1322e626d1e9eca18cc150569908fb4af29e15f7"),
}


def run(text: str, name: str, **imports) -> types.ModuleType:
    """Runs the text of a file as a module, with stand-ins for what it imports and does not use."""
    kept = {}
    for path, members in imports.items():
        path = path.replace("__", ".")
        parts = path.split(".")
        for n in range(1, len(parts) + 1):
            part = ".".join(parts[:n])
            kept.setdefault(part, sys.modules.get(part))
            if n == len(parts) or part not in sys.modules:
                sys.modules[part] = types.ModuleType(part)
        vars(sys.modules[path]).update(members)
    module = types.ModuleType(name)
    try:
        exec(compile(text, name, "exec"), module.__dict__)
    finally:
        for part, before in kept.items():
            if before is None:
                sys.modules.pop(part, None)
            else:
                sys.modules[part] = before
    return module


def whole(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(torch.int32)


def tome(directory: str) -> None:
    repository, path = REPOSITORIES["tome"], "tome/merge.py"
    merge = run(repository.text(directory, path), "merge")
    golden = Golden(
        "pruning_tome", repository, path, COMMAND,
        official="source: which tokens each row of the result holds (merge_source); rows, sizes: "
                 "merge_wavg twice, so that tokens of several sizes merge",
        composed="the two calls one after the other",
    )
    for tokens, width, r, class_token in [(16, 5, 4, False), (17, 5, 8, False), (17, 5, 5, True), (9, 3, 99, False)]:
        keys = torch.randn(1, tokens, width)
        x = torch.randn(1, tokens, 3)
        one = torch.rand(1, tokens, 1).mul(4).ceil()
        join, _ = merge.bipartite_soft_matching(keys.double(), r, class_token)
        source = merge.merge_source(join, keys.double())
        rows, sizes = merge.merge_wavg(join, x.double(), one.double())
        golden.case(
            dict(r=r, class_token=class_token),
            dict(keys=keys[0], x=x[0], sizes_before=one[0, :, 0].double(), source=whole(source[0]),
                 rows=rows[0], sizes=sizes[0, :, 0]),
        )
    golden.save()


@contextlib.contextmanager
def stable_topk():
    """Of equal values topk takes the first; which one it takes of itself is not defined, and pooling
    by a maximum makes many."""
    kept = torch.Tensor.topk

    def topk(values, k, dim=-1, **_):
        order = values.sort(dim=dim, descending=True, stable=True).indices
        return types.SimpleNamespace(indices=order.narrow(dim, 0, k))

    torch.Tensor.topk = topk
    try:
        yield
    finally:
        torch.Tensor.topk = kept


def repeat(x: torch.Tensor, groups: int) -> torch.Tensor:
    return x.repeat_interleave(groups, dim=1)


def speckv(directory: str) -> None:
    repository, path = REPOSITORIES["draft"], "draft_approx_llm/speckv/util.py"
    llama = dict(LlamaAttention=int, repeat_kv=repeat)
    module = run(
        repository.text(directory, path), "util",
        transformers__models__llama__modeling_llama=llama,
        transformers__models__qwen2__modeling_qwen2=dict(Qwen2Attention=int),
    )
    golden = Golden(
        "pruning_speckv", repository, path, COMMAND,
        official="indices: compress_kv, of each head of keys, best first",
        composed="repeat_kv, which transformers has: each head of keys once for every query of its "
                 "group; topk, which takes the first of equal values",
    )
    for (heads, groups, tokens, window, capacity, kernel), reduction, pooling in [
        ((4, 2, 40, 6, 20, 7), "max", "max"),
        ((4, 2, 40, 6, 20, 5), "mean", "mean"),
        ((2, 2, 30, 9, 12, 1), "max", "mean"),
        ((3, 1, 50, 4, 49, 3), "mean", "max"),
    ]:
        q, k = torch.randn(1, heads, tokens, 8) * 1.5, torch.randn(1, groups, tokens, 8)
        with stable_topk():
            _, _, indices = module.compress_kv(
                k, q, k, window, capacity, 0, reduction, pooling, kernel
            )
        golden.case(
            dict(window=window, capacity=capacity, kernel=kernel, reduction=reduction, pooling=pooling),
            dict(q=q[0], k=k[0], indices=whole(indices[0])),
        )
    golden.save()


def specpc(directory: str) -> None:
    repository, path = REPOSITORIES["draft"], "draft_approx_llm/specpc"

    def unique(values):
        """pandas.unique: each value once, in order."""
        return list(dict.fromkeys(values.tolist()))

    select = run(
        repository.text(directory, f"{path}/specpc.py").replace("from .specpc_utils", "from specpc_utils"),
        "specpc",
        pandas=dict(unique=unique),
        draft_approx_llm=dict(DraftApproxLLMModelOutput=None, SpecPCConfig=None),
        specpc_utils=dict(generate_aggregated_attention=None),
    )
    gather = run(
        repository.text(directory, f"{path}/specpc_utils.py"), "specpc_utils",
        transformers__models__llama__modeling_llama=dict(repeat_kv=repeat),
    )
    golden = Golden(
        "pruning_specpc", repository, f"{path}/specpc.py, {path}/specpc_utils.py", COMMAND,
        official="importance: AttentionCache; kept: specpc_select_input_token_indices",
        composed="pandas.unique, by the order of a dictionary; topk, which takes the first of equal "
                 "values; the probabilities",
    )
    for tokens, window, capacity, kernel, neighbours, pool, last in [
        (40, 4, 20, 8, 6, "max", 3),
        (40, 4, 12, 5, 5, "avg", 1),
        (33, 1, 10, 4, 0, None, 0),
        (30, 3, 64, 4, 4, "max", 2),
        (200, 6, 128, 64, 64, "max", 1),
    ]:
        config = types.SimpleNamespace(
            kernel_size=kernel, neighbor_tokens=neighbours, pool_type=pool, window_size=window,
            max_capacity_prompt=capacity, starting_layer_index=1, reduction_type="max", weighted_query=True,
        )
        cache = gather.AttentionCache(config)
        layers, heads = 3, 2
        # [steps, layers, heads, queries, keys]; guessed tokens come one by one.
        prompt = torch.rand(layers, heads, window, tokens).pow(6)
        prompt = prompt / prompt.sum(-1, keepdim=True)
        guessed = torch.rand(last, layers, heads, 1, tokens + max(last, 1)).pow(6)
        for layer in range(layers):
            cache.add(layer, prompt[layer][None].double())
        for step in range(last):
            for layer in range(layers):
                cache.add(layer, guessed[step, layer][None, ..., : tokens + step + 1].double())
        importance = cache.get_aggreated_attention()
        with stable_topk():
            kept = select.specpc_select_input_token_indices(importance, config)
        tensors = dict(prompt=prompt, importance=importance[0], kept=whole(kept[0]))
        if last:
            tensors["guessed"] = guessed
        golden.case(
            dict(window=window, capacity=capacity, kernel=kernel, neighbours=neighbours,
                 pool=pool or "none", starting_layer=1, guessed=last),
            tensors,
        )
    golden.save()


def h2o(directory: str) -> None:
    repository, path = REPOSITORIES["h2o"], "h2o_hf/utils_hh/modify_llama.py"

    class Unturned(torch.nn.Module):
        def __init__(self, *_, **__):
            super().__init__()

        def forward(self, *_, **__):
            return None, None

    module = run(
        repository.text(directory, path), "modify_llama",
        transformers__models__llama__configuration_llama=dict(LlamaConfig=None),
        transformers__models__llama__modeling_llama=dict(
            LlamaRotaryEmbedding=Unturned, LlamaAttention=None,
            apply_rotary_pos_emb=lambda q, k, *_: (q, k),
        ),
    )
    golden = Golden(
        "pruning_h2o", repository, path, COMMAND,
        official="kept: the mask that LlamaAttention_heavy_hitter has for the next step behind the "
                 "prompt and each step; given: its sums at the end",
        composed="the rotary turn is left out",
    )
    for heads, width, prompt, steps, heavy, recent in [(2, 8, 12, 10, 0.25, 0.25), (3, 4, 9, 14, 0.4, 0.12), (1, 4, 10, 6, 0.0, 0.3)]:
        torch.set_default_dtype(torch.float64)
        layer = module.LlamaAttention_heavy_hitter(types.SimpleNamespace(
            hidden_size=heads * width, num_attention_heads=heads, max_position_embeddings=64,
            heavy_ratio=heavy, recent_ratio=recent,
        ))
        torch.set_default_dtype(torch.float32)
        u = torch.randn(prompt + steps, heads * width)
        with torch.no_grad():
            for projection in (layer.q_proj, layer.k_proj):
                projection.weight.copy_(torch.randn_like(projection.weight).mul(2.5 * (heads * width) ** -0.5).float())
            q, k = (projection(u.double()) for projection in (layer.q_proj, layer.k_proj))
            # What the layer reads is rounded to what the file holds.
            q, k = (x.view(-1, heads, width).transpose(0, 1).float() for x in (q, k))
            layer.q_proj, layer.k_proj = Given(q), Given(k)
            lowest = torch.finfo(torch.float64).min
            causal = torch.full((prompt, prompt), lowest, dtype=torch.float64).triu(1)[None, None]
            mask, masks, past = causal, [], None
            fed = u[:prompt]
            for step in range(steps + 1):
                _, _, past = layer(fed.double()[None], attention_mask=mask, past_key_value=past, use_cache=True)
                masks.append(layer.attention_masks_next[0, :, 0])
                fed, mask = u[prompt + step : prompt + step + 1], None
        longest = prompt + steps + 1
        kept = torch.stack([torch.nn.functional.pad(m, (0, longest - m.shape[-1])) for m in masks])
        golden.case(
            dict(prompt=prompt, heavy=int(heavy * prompt), recent=int(recent * prompt), width=width),
            dict(q=q, k=k, kept=whole(kept), given=layer.previous_scores),
        )
    golden.save()


class Given(torch.nn.Module):
    """A projection that gives the next rows of what is known, `[H, T, K]`."""

    def __init__(self, rows):
        super().__init__()
        self.rows, self.at = rows.double(), 0

    def forward(self, x):
        count = x.shape[1]
        rows = self.rows[:, self.at : self.at + count]
        self.at += count
        return rows.transpose(0, 1).reshape(1, count, -1)


def seqboat(directory: str) -> None:
    repository, path = REPOSITORIES["seqboat"], "standalone_seqboat.py"
    module = run(repository.text(directory, path), "seqboat")
    golden = Golden(
        "pruning_seqboat", repository, path, COMMAND,
        official="probabilities: LatentConfigurator; compressed: compress_seq; extracted: extract",
        composed="active, weights and places, as the forward of SeqBoatLayer computes them",
    )
    for tokens, width, scale in [(12, 4, 0.3), (7, 3, 1.0)]:
        router = module.LatentConfigurator(width, 2, init_temp_scale=scale)
        logits, rows = torch.randn(1, tokens, 2), torch.randn(1, tokens, width)
        with torch.no_grad():
            probabilities = router(logits)
        best, index = probabilities.max(-1, keepdim=True)
        active = index == 1
        places = active * torch.cumsum(active.long(), -2)
        dense = module.compress_seq(rows, places.expand(-1, -1, width), active.sum(-2).max(), dim=-2)
        golden.case(
            dict(temperature=float(router.temp.detach().exp())),
            dict(logits=logits[0], rows=rows[0], probabilities=probabilities[0],
                 weights=(best * active)[0, :, 0], places=whole(places[0, :, 0]), compressed=dense[0],
                 extracted=module.extract(dense, places)[0]),
        )
    golden.save()


def longmamba(directory: str) -> None:
    repository, path = REPOSITORIES["longmamba"], "mamba_ssm/ops/selective_scan_interface.py"
    kernels = dict(
        causal_conv1d=dict(causal_conv1d_fn=None), causal_conv1d_cuda={}, selective_scan_cuda={},
    )
    module = run(repository.text(directory, path), "selective_scan_interface", **kernels)
    golden = Golden(
        "pruning_longmamba", repository, path, COMMAND,
        official="threshold, top_k, share, budget: masks of get_channelwise_dt_threshold, "
                 "get_topk_mask_channelwise, get_channelwise_topAlpha, get_channelwise_topBound; norm: "
                 "get_channelwise_normalize; tokens: get_top_k_token_indices",
        composed="nothing",
    )
    for channels, tokens, k in [(3, 20, 8), (2, 33, 10)]:
        steps = torch.nn.functional.softplus(torch.randn(1, channels, tokens) - 1)
        exact = steps.double()
        limits, shares = exact.median(-1).values[0] * 0.9, torch.linspace(0.25, 0.7, channels).double()
        budgets = exact.sum(-1)[0] * torch.linspace(0.2, 0.8, channels).double()
        golden.case(
            dict(k=k),
            dict(
                steps=steps[0], limits=limits.float(), shares=shares, budgets=budgets,
                threshold=whole(module.get_channelwise_dt_threshold(exact, limits.float().double())[0]),
                top_k=whole(module.get_topk_mask_channelwise(exact, k)[0]),
                share=whole(module.get_channelwise_topAlpha(exact, shares)[0]),
                budget=whole(module.get_channelwise_topBound(exact, budgets)[0]),
                norm=module.get_channelwise_normalize(exact, budgets)[0],
                tokens=whole(module.get_top_k_token_indices(exact, k)),
            ),
        )
    golden.save()


def dynamicvit(directory: str) -> None:
    repository, path = REPOSITORIES["dynamicvit"], "models/dyvit.py"
    module = run(
        repository.text(directory, path), "dyvit",
        utils=dict(batch_index_select=None),
        timm__data=dict(IMAGENET_DEFAULT_MEAN=None, IMAGENET_DEFAULT_STD=None),
        timm__models__layers=dict(DropPath=None, to_2tuple=None, trunc_normal_=None),
    )
    golden = Golden(
        "pruning_gumbel", repository, path, COMMAND,
        official="logits: PredictorLG, keeping first; soft, hard, gradient: gumbel_softmax of this torch "
                 "on these logits, the gradient for them being that of sum(hard[:, 0] * weights)",
        composed="uniforms: exp(-e) of the exponential draws e that gumbel_softmax makes",
    )
    for tokens, width, tau in [(10, 16, 1.0), (13, 8, 0.4)]:
        generator = module.PredictorLG(width)
        features, policy = torch.randn(1, tokens, width), torch.rand(1, tokens, 1).gt(0.3)
        policy[0, 0] = True
        tensors = dict(features=features[0], policy=whole(policy[0, :, 0]), **weights(generator))
        with torch.no_grad():
            logits = generator.double()(features.double(), policy.double())[0]
        given = logits.clone().requires_grad_()
        seed = 40 + tokens
        torch.manual_seed(seed)
        draws = torch.empty_like(given).exponential_()
        torch.manual_seed(seed)
        hard = torch.nn.functional.gumbel_softmax(given, tau=tau, hard=True)
        torch.manual_seed(seed)
        soft = torch.nn.functional.gumbel_softmax(logits, tau=tau)
        rates = torch.randn(tokens).double()
        (hard[:, 0] * rates).sum().backward()
        assert torch.equal(hard.argmax(-1), soft.argmax(-1))
        golden.case(
            dict(width=width, tau=tau),
            tensors | dict(logits=logits, uniforms=torch.exp(-draws), soft=soft,
                           hard=whole(hard.detach()), rates=rates, gradient=given.grad),
        )
    golden.save()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in REPOSITORIES:
        parser.add_argument(f"--{name}", required=True)
    directories = vars(parser.parse_args())
    makers = dict(tome=[tome], draft=[speckv, specpc], h2o=[h2o], seqboat=[seqboat],
                  longmamba=[longmamba], dynamicvit=[dynamicvit])
    for name, functions in makers.items():
        for function in functions:
            torch.manual_seed(61)
            function(directories[name])


if __name__ == "__main__":
    main()
