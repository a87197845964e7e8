"""Two small tokenizer.json, trained and run by the tokenizers library; called by checkpoints.py.

    byte_level      as GPT-NeoX, whose tokenizer the Mamba models have: NFC, bytes, added tokens
    byte_fallback   as Llama and Mistral, whose tokenizer many models of flash-linear-attention have:
                    spaces written as U+2581, bytes only for what the vocabulary lacks, <s> in front

Each folder gets tokenizer.json and tokenized.json: `texts`, a list of [text, ids, decoded text].
"""

import json
import pathlib

import tokenizers
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

SIZE = 330

TEXT = """A recurrent model reads one token after the other and keeps what it has read in a state of
fixed size. The state forgets: every step multiplies it by a decay. The longer the text, the more the
model has to forget, and the more it matters what is kept. Linear attention keeps sums of keys times
values; the delta rule takes out what it wrote before under the same key. There isn't one state, there
are many: one for each head of each layer. They're read by a query, and they'll all be read again.
    def step(state, k, v):
        return state + k * v  # 1 token, 64 x 64 numbers
In 2024 and 2025 the states became larger: 16, 64, 128, 256 numbers a channel.
"""

CASES = [
    "",
    " ",
    "The state forgets.",
    " the state  forgets   every\tstep\n\n\n",
    "They'll say it isn't one state, it's many; I'VE READ 2024 of them!?",
    "    def step(state, k, v):\n        return state + k * v",
    "na\u00efve caf\u00e9, composed: e\u0301 and o\u0308, \u212b",
    "\u8a18\u61b6\u306f\u6709\u9650\u3067\u3059\u3002 \u041f\u0430\u043c\u044f\u0442\u044c "
    "\u03bc\u03bd\u03ae\u03bc\u03b7",
    "\U0001f9e0\U0001f469\u200d\U0001f52c \u200b\ufeff\u00a0end",
    "x\u0000y\u007fz",
    "<|endoftext|>The<|endoftext|> state<s></s><unk>",
    "\u2581The \u2581 state",
    "a" * 40 + "1234567890" * 3,
    "line\r\nline\rline\u2028line",
]


def record(tokenizer: Tokenizer, folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    # One form for all machines: the library writes the vocabulary in the order of ids already.
    text = json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=True, indent=1)
    (folder / "tokenizer.json").write_text(text + "\n")
    read = Tokenizer.from_file(str(folder / "tokenizer.json"))
    cases = []
    for text in CASES:
        ids = read.encode(text).ids
        cases.append([text, ids, read.decode(ids, skip_special_tokens=False)])
    head = {"command": "python tests/golden/make/checkpoints.py --fla DIR --rwkv DIR",
            "tokenizers": tokenizers.__version__}
    lines = ",\n".join(json.dumps(case) for case in cases)
    (folder / "tokenized.json").write_text(json.dumps(head)[:-1] + ', "texts": [\n' + lines + "\n]}\n")


def byte_level(folder: pathlib.Path):
    """Writes the tokenizer and text.txt into the folder; returns the ids of that text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    special = ["<|endoftext|>", "<|padding|>"]
    spaces = [AddedToken(" " * n, normalized=True, special=False) for n in (8, 4)]
    trainer = trainers.BpeTrainer(vocab_size=SIZE - len(spaces), special_tokens=special, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(TEXT.splitlines(), trainer)
    tokenizer.add_tokens(spaces)
    assert tokenizer.get_vocab_size() == SIZE
    record(tokenizer, folder)
    text = TEXT[:180] + "    end, caf\u00e9 \U0001f9e0\n"
    (folder / "text.txt").write_text(text)
    return torch.tensor(tokenizer.encode(text).ids)


def byte_fallback(folder: pathlib.Path) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    trainer = trainers.BpeTrainer(vocab_size=140, show_progress=False)
    tokenizer.train_from_iterator(TEXT.splitlines(), trainer)
    trained = json.loads(tokenizer.to_str())
    pieces = ["<unk>", "<s>", "</s>"] + [f"<0x{n:02X}>" for n in range(256)]
    pieces += [piece for piece, _ in sorted(trained["model"]["vocab"].items(), key=lambda item: item[1])]
    special = [{"id": n, "content": pieces[n], "single_word": False, "lstrip": False, "rstrip": False,
                "normalized": False, "special": True} for n in range(3)]
    trained["added_tokens"] = special
    trained["model"] |= {"vocab": {piece: n for n, piece in enumerate(pieces)}, "unk_token": "<unk>",
                         "fuse_unk": True, "byte_fallback": True}
    tokenizer = Tokenizer.from_str(json.dumps(trained))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(),
                                           decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    record(tokenizer, folder)
