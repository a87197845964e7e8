"""Writes the small random checkpoints of tests/golden/models/<id>/, each as its library saves it, with
the logits that the library gives:

    config.json, model.safetensors (or shards with model.safetensors.index.json)
    expected.safetensors    input_ids i32 [T], positions i32 [P], logits f64 [P, V] at them and
                            loss_per_position f64 [T - 1], the cross-entropy of every next token

The vocabulary is 256 and every id a printable ASCII byte, so that the ids are a text; mamba-tokenizer
has a tokenizer.json, text.txt and tokenized.json, texts with their ids (see vocabularies.py).

    python tests/golden/make/checkpoints.py --fla DIR --rwkv DIR [--only ID]

DIR are clones of fla-org/flash-linear-attention (commit in fla_on_cpu.py) and BlinkDL/RWKV-LM. Needs
transformers 5.23.0, tokenizers 0.23.3 and torch (tests/peers/requirements.txt). Weights are f32
(mamba2-bf16 and rwkv7-native: bf16), computations f64. `--check` under TRITON_INTERPRET=1 compares the
models of flash-linear-attention with their own Triton kernels, see mixers_fla.py.
"""

import argparse
import importlib
import json
import pathlib
import re
import sys
import tempfile
import warnings
import zlib

import fla_on_cpu
import numpy
import torch
import torch.nn.functional as F
import vocabularies
from fla_on_cpu import FLA, PLAIN
from official import OUT, OnlyDouble, Repository, in_double, write
from safetensors.torch import load_file

RWKV = Repository("BlinkDL/RWKV-LM", "524481d5099b38d9bc8ef1e89209161b86c8011b")
COMMAND = "python tests/golden/make/checkpoints.py --fla DIR --rwkv DIR"
T, V = 60, 256
LIMIT = 300_000


def randomise(model: torch.nn.Module) -> None:
    """Values that no default hides; matrices keep the size of what goes through them."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn_like(p)
            if name.endswith(("A_log", "dt_bias", "dt_proj.bias", "D")):
                p.add_(0.3 * noise)
            elif "x_" in name.rsplit(".", 1)[-1]:
                p.uniform_()  # shares of the token before
            elif p.dim() >= 2:
                fan_in = p.shape[-1] if "conv1d" not in name else p[0].numel()
                p.copy_(noise * fan_in**-0.5)
            else:
                p.add_(0.3 * noise)


def positions(length: int):
    """Where logits are recorded: the first, some in the middle, the last."""
    return torch.tensor([n for n in (0, 1, 2, 3, 4, 15, 16, 17, 37) if n < length - 1] + [length - 1])


def text(length: int):
    return torch.randint(32, 127, (length,))


class Checkpoint:
    def __init__(self, name: str, check: bool):
        torch.manual_seed(zlib.crc32(name.encode()))
        self.folder, self.check = OUT / "models" / name, check
        self.name = name

    def config(self, config) -> None:
        if not self.check:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "config.json").write_text(json_text(config))

    def tensors(self, state: dict, shards: int = 1) -> None:
        """The file, or files with an index, as the libraries write them."""
        self.folder.mkdir(parents=True, exist_ok=True)
        state = {k: v.detach().contiguous() for k, v in state.items()}
        if shards == 1:
            write(self.folder / "model.safetensors", state, {"format": "pt"})
            return
        names, index = list(state), {}
        for n in range(shards):
            file = f"model-{n + 1:05}-of-{shards:05}.safetensors"
            part = names[n * len(names) // shards : (n + 1) * len(names) // shards]
            write(self.folder / file, {k: state[k] for k in part}, {"format": "pt"})
            index |= {k: file for k in part}
        size = sum(v.numel() * v.element_size() for v in state.values())
        text = json.dumps({"metadata": {"total_size": size}, "weight_map": index}, indent=2, sort_keys=True)
        (self.folder / "model.safetensors.index.json").write_text(text + "\n")

    def expected(self, input_ids, logits, notes: dict) -> None:
        assert logits.dtype == torch.float64 and torch.isfinite(logits).all()
        assert 0.2 < logits.std() < 20, f"logits have a deviation of {logits.std()}"
        metadata = {"command": COMMAND, "torch": torch.__version__} | notes
        losses = F.cross_entropy(logits[:-1], input_ids[1:], reduction="none")
        at = positions(len(input_ids))
        tensors = {"input_ids": input_ids.to(torch.int32), "positions": at.to(torch.int32),
                   "logits": logits[at], "loss_per_position": losses}
        write(self.folder / "expected.safetensors", tensors, metadata)
        size = sum(f.stat().st_size for f in self.folder.iterdir())
        print(f"{self.name}: {size} bytes, logits {logits.std():.2f}")
        assert size <= LIMIT, f"{self.folder} has {size} bytes"


def json_text(config) -> str:
    text = json.loads(config.to_json_string())
    text.pop("_name_or_path", None)
    return json.dumps(text, indent=2, sort_keys=True) + "\n"


def saved(model) -> dict:
    """The tensors of the file that the library writes for a model, which may have other names than
    those in memory."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return load_file(pathlib.Path(folder) / "model.safetensors")


def of_transformers(check: bool, only: str | None) -> None:
    import transformers
    from transformers import (
        BambaConfig,
        BambaForCausalLM,
        FalconMambaConfig,
        FalconMambaForCausalLM,
        JambaConfig,
        JambaForCausalLM,
        Mamba2Config,
        Mamba2ForCausalLM,
        MambaConfig,
        MambaForCausalLM,
    )

    common = dict(vocab_size=V, hidden_size=32, num_hidden_layers=2, bos_token_id=1, eos_token_id=2,
                  pad_token_id=0)
    mamba = common | dict(state_size=8, time_step_rank=3)
    models = {
        "mamba": (MambaConfig, MambaForCausalLM, mamba, {}),
        "mamba-sharded": (MambaConfig, MambaForCausalLM, mamba | dict(tie_word_embeddings=False), dict(shards=2)),
        "mamba2": (Mamba2Config, Mamba2ForCausalLM,
                   common | dict(state_size=12, head_dim=8, num_heads=8, n_groups=2, chunk_size=16), {}),
        "mamba2-bf16": (Mamba2Config, Mamba2ForCausalLM,
                        common | dict(state_size=12, head_dim=8, num_heads=8, n_groups=1,
                                      tie_word_embeddings=True), dict(bf16=True)),
        "mamba-tokenizer": (MambaConfig, MambaForCausalLM, mamba, dict(tokenizer=True)),
        "falcon_mamba": (FalconMambaConfig, FalconMambaForCausalLM, mamba, {}),
        "jamba": (JambaConfig, JambaForCausalLM,
                  common | dict(num_hidden_layers=4, intermediate_size=20, num_attention_heads=4,
                                num_key_value_heads=2, mamba_d_state=6, mamba_dt_rank=3, num_experts=3,
                                num_experts_per_tok=2, attn_layer_period=4, attn_layer_offset=2,
                                expert_layer_period=2, expert_layer_offset=1), {}),
        "bamba": (BambaConfig, BambaForCausalLM,
                  common | dict(num_hidden_layers=3, intermediate_size=48, num_attention_heads=4,
                                num_key_value_heads=2, attn_layer_indices=[1], mamba_n_heads=8,
                                mamba_d_head=8, mamba_n_groups=2, mamba_d_state=12, mamba_chunk_size=16), {}),
    }
    for name, (config_class, model_class, settings, extra) in models.items():
        if only not in (None, name) or check:
            continue
        checkpoint = Checkpoint(name, check)
        ids = text(T)
        if extra.get("tokenizer"):
            ids = vocabularies.byte_level(checkpoint.folder)
            settings = settings | dict(vocab_size=vocabularies.SIZE)
        config = config_class(**settings)
        config.architectures = [model_class.__name__]
        config._attn_implementation = config._experts_implementation = "eager"
        model = model_class(config).eval()
        randomise(model)
        if extra.get("bf16"):
            model = model.bfloat16()
            config.dtype = torch.bfloat16
        else:
            config.dtype = torch.float32
        checkpoint.config(config)
        checkpoint.tensors(saved(model), extra.get("shards", 1))
        library = [m for n, m in list(sys.modules.items())
                   if n.startswith("transformers.") and getattr(m, "torch", None) is torch]
        model = model.double()
        with in_double(*library), torch.no_grad(), OnlyDouble():
            logits = model(input_ids=ids[None], use_cache=False).logits[0]
        notes = {"repository": "https://github.com/huggingface/transformers", "commit": "v5.23.0",
                 "path": "src/" + model_class.__module__.replace(".", "/") + ".py",
                 "official": "the model, on its slow path", "composed": "nothing",
                 "transformers": transformers.__version__}
        checkpoint.expected(ids, logits, notes)


def of_fla(check: bool, only: str | None) -> None:
    models = importlib.import_module("fla.models")
    attention = importlib.import_module("fla.layers.attn")
    naive = importlib.import_module("fla.ops.attn.naive")

    def flash(q, k, v, causal, window_size):
        assert causal and window_size[1] in (-1, 0)
        window = None if window_size[0] < 0 else window_size[0] + 1
        return naive.naive_parallel_attn(q, k, v, window_size=window)[0]

    attention.flash_attn_func = flash
    common = dict(vocab_size=V, hidden_size=32, num_hidden_layers=2, intermediate_size=40,
                  max_position_embeddings=128)
    hybrid = dict(layers=[1], num_heads=4, num_kv_heads=2, qkv_bias=True, rope_theta=5000.0)
    rwkv7 = dict(decay_low_rank_dim=6, gate_low_rank_dim=8, a_low_rank_dim=5, v_low_rank_dim=4)
    cases = {
        "gla": ("GLA", common | dict(num_heads=2)),
        "gla-conv": ("GLA", common | dict(num_heads=4, num_kv_heads=2, use_short_conv=True, feature_map="relu",
                                          expand_k=1.0, clamp_min=-0.05, tie_word_embeddings=True)),
        "gla-hybrid": ("GLA", common | dict(num_hidden_layers=3, num_heads=2,
                                            attn=dict(layers=[1], num_heads=4, num_kv_heads=2, window_size=9))),
        "retnet": ("RetNet", common | dict(num_heads=2)),
        "delta_net": ("DeltaNet", common | dict(num_heads=2)),
        "gated_delta_net": ("GatedDeltaNet", common | dict(head_dim=8, num_heads=2, expand_v=1.5)),
        "gated_delta_net-hybrid": ("GatedDeltaNet", common | dict(head_dim=8, num_heads=2, num_v_heads=4,
                                                                  expand_v=1.0, attn=hybrid)),
        "hgrn2": ("HGRN2", common | dict(expand_ratio=8)),
        "rwkv7": ("RWKV7", common | rwkv7 | dict(head_dim=16)),
        "linear_attention": ("LinearAttention", common | dict(num_heads=2, feature_map="elu")),
        "rwkv6": ("RWKV6", common | dict(num_heads=2, proj_low_rank_dim=4, gate_low_rank_dim=6)),
        "light_net": ("LightNet", common | dict(expand_ratio=8, gate_low_rank_dim=6)),
        "gsa": ("GSA", common | dict(num_heads=2, num_slots=6)),
    }
    for name, (family, settings) in cases.items():
        if only not in (None, name):
            continue
        checkpoint = Checkpoint(name, check)
        model, ids = fla_model(models, family, settings)
        if check:
            with torch.no_grad():
                compare(name, model(input_ids=ids[None], use_cache=False).logits[0], checkpoint.folder)
            continue
        checkpoint.config(model.config)
        checkpoint.tensors(saved(model))
        checkpoint.expected(ids, run(model, ids), fla_notes(model))


def fla_model(models, family: str, settings: dict):
    tied = settings.get("tie_word_embeddings", False)
    config = getattr(models, family + "Config")(**settings | dict(tie_word_embeddings=False))
    model_class = getattr(models, family + "ForCausalLM")
    config.architectures = [model_class.__name__]
    config.dtype = torch.float32
    model = model_class(config).eval()
    # This version names tied tensors in a way that this transformers does not read.
    model._tied_weights_keys = {"lm_head.weight": "model.embeddings.weight"} if tied else {}
    if tied:
        model.lm_head.weight = model.model.embeddings.weight
        config.tie_word_embeddings = True
    randomise(model)
    return model, text(T)


def run(model, ids):
    model = model.double()
    with fla_on_cpu.double(), torch.no_grad(), OnlyDouble():
        return model(input_ids=ids[None], use_cache=False).logits[0]


def fla_notes(model) -> dict:
    return {"repository": f"https://github.com/{FLA.name}", "commit": FLA.commit,
            "path": type(model).__module__.replace(".", "/") + ".py",
            "official": "the model and its layers, over the reference functions of its kernels; attention: "
                        "naive_parallel_attn in the place of flash attention",
            "composed": PLAIN}


def compare(name: str, out, folder) -> None:
    want = load_file(folder / "expected.safetensors")["logits"]
    out = out[positions(T)]
    ratio = ((out - want).square().sum() / want.square().sum()).sqrt()
    print(f"{name}: kernels and file differ by an RMS ratio of {ratio:.1e}")
    assert ratio < 1e-5


def rwkv7_native(directory: str) -> None:
    """The same weights under the names of the authors' own files, whose logits come from the authors'
    numpy model; the model of flash-linear-attention gives the same."""
    models = importlib.import_module("fla.models")
    checkpoint = Checkpoint("rwkv7-native", False)
    model, ids = fla_model(models, "RWKV7", dict(
        vocab_size=V, hidden_size=64, num_hidden_layers=2, hidden_ratio=1, head_dim=64, fuse_norm=False,
        decay_low_rank_dim=6, gate_low_rank_dim=8, a_low_rank_dim=5, v_low_rank_dim=4,
    ))
    model = model.bfloat16().float()  # what the authors' files are rounded to
    native = native_names(model.state_dict())
    checkpoint.tensors({name: value.bfloat16() for name, value in native.items()})
    logits = numpy_model(directory, native, ids)
    theirs = run(model, ids)
    assert torch.allclose(logits, theirs, atol=1e-9), (logits - theirs).abs().max()
    notes = {"repository": f"https://github.com/{RWKV.name}", "commit": RWKV.commit,
             "path": "RWKV-v7/rwkv_v7_numpy.py",
             "official": "the model (RWKV7 of the numpy file) in f64; names and shapes of the tensors as "
                         "utils/convert_from_rwkv7.py of flash-linear-attention reads them",
             "composed": "no config.json belongs to this layout. blocks.0.att.v0, v1 and v2 hold numbers "
                         "that no model reads"}
    checkpoint.expected(ids, logits, notes)


def native_names(state: dict) -> dict:
    top = {"model.embeddings.weight": "emb.weight", "model.norm.weight": "ln_out.weight",
           "model.norm.bias": "ln_out.bias", "lm_head.weight": "head.weight"}
    part = {"attn": "att", "ffn": "ffn", "pre_norm": "ln0", "attn_norm": "ln1", "ffn_norm": "ln2"}
    inner = {"r_proj": "receptance", "k_proj": "key", "v_proj": "value", "g_norm": "ln_x", "o_proj": "output"}
    lora = {"2.bias": "0", "0.weight": "1", "2.weight": "2"}
    native = {}
    for name, value in state.items():
        if name in top:
            native[top[name]] = value
            continue
        _, _, layer, kind, rest = name.split(".", 4)
        found = re.fullmatch(r"([wvag])_lora\.lora\.(.*)", rest)
        if found:
            rest = found[1] + lora[found[2]]
            value = value.T if rest[1] != "0" else value
        elif kind == "attn":
            head, _, tail = rest.partition(".")
            rest = inner.get(head, head) + ("." + tail if tail else "")
        if value.dim() == 1 and kind in ("attn", "ffn") and "ln_x" not in rest:
            value = value.view(1, 1, -1)
        native[f"blocks.{layer}.{part[kind]}.{rest}"] = value.contiguous()
    for n in "012":
        native[f"blocks.0.att.v{n}"] = torch.randn_like(native[f"blocks.1.att.v{n}"])
    return native


def numpy_model(directory: str, native: dict, ids):
    text = RWKV.text(directory, "RWKV-v7/rwkv_v7_numpy.py").split("# Verification")[0]
    scope = {"torch_load": None, "N_LAYER": 2, "N_EMBD": 64, "HEAD_SIZE": 64, "N_HEAD": 1}
    exec(text, scope)
    arrays = {k: v.double().squeeze().numpy() for k, v in native.items()}
    # In the order in which the authors' files list them, which the reference relies on.
    att = ("x_r x_w x_k x_v x_a x_g w0 r_k w1 w2 a1 a2 a0 g1 g2 v2 v1 v0 k_k k_a receptance.weight "
           "key.weight value.weight output.weight ln_x.weight ln_x.bias").split()
    order = {"att": att, "ffn": ["x_k", "key.weight", "value.weight"]}

    def params(prefix):
        kind = prefix.rsplit(".", 1)[-1]
        if kind not in order:
            return [arrays[f"{prefix}.{n}"] for n in ("weight", "bias") if f"{prefix}.{n}" in arrays]
        return [arrays[f"{prefix}.{n}"] for n in order[kind]]

    state = (numpy.zeros((2, 2, 64)), numpy.zeros((2, 1, 64, 64)))
    out = []
    for token in ids.tolist():
        logits, state = scope["RWKV7"](params, token, state)
        out.append(torch.from_numpy(numpy.array(logits)))
    return torch.stack(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fla", required=True)
    parser.add_argument("--rwkv", required=True)
    parser.add_argument("--only", help="one checkpoint")
    parser.add_argument("--check", action="store_true", help="compare with the Triton kernels")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    of_transformers(arguments.check, arguments.only)
    if not arguments.check and arguments.only in (None, "byte_fallback"):
        vocabularies.byte_fallback(OUT / "tokenizers" / "byte_fallback")
    fla_on_cpu.load(arguments.fla)
    of_fla(arguments.check, arguments.only)
    if arguments.only in (None, "rwkv7-native") and not arguments.check:
        rwkv7_native(arguments.rwkv)


if __name__ == "__main__":
    main()
