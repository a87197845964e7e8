"""A checkpoint's prefill in transformers on PyTorch, CPU, f32, with a given number of threads:

    transformers_prefill.py MODEL TEXT TOKENS THREADS

The result is the cross-entropy of every position but the last, as the other contestants give it.
Obeys lines on standard input: `check FILE`, `time SECONDS` (see contest.mjs).
"""

import json
import math
import os
import sys
import time

THREADS = int(sys.argv[4])
os.environ["OMP_NUM_THREADS"] = str(THREADS)
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import transformers


def main(model_dir: str, text: str, tokens: int) -> None:
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    with open(os.path.join(model_dir, "config.json")) as file:
        settings = json.load(file)
    # JSON has no infinity; the file says null, which this version's check of types refuses.
    low, high = settings["time_step_limit"]
    settings["time_step_limit"] = (low, math.inf if high is None else high)
    model = transformers.Mamba2ForCausalLM.from_pretrained(
        model_dir, config=transformers.Mamba2Config(**settings), dtype=torch.float32
    ).eval()
    with open(text, "rb") as file:
        ids = torch.tensor([list(file.read(tokens))])

    def run() -> torch.Tensor:
        with torch.inference_mode():
            logits = model(ids, use_cache=True).logits[0, :-1].float()
            return torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none")

    run()
    print(
        f"ready transformers {transformers.__version__}, torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads",
        flush=True,
    )
    for line in sys.stdin:
        command, value = line.split()
        if command == "check":
            run().numpy().tofile(value)
            print("checked", flush=True)
        elif command == "time":
            start = time.perf_counter_ns()
            end = start + float(value) * 1e9
            shortest, count = None, 0
            while count == 0 or time.perf_counter_ns() < end:
                before = time.perf_counter_ns()
                run()
                taken = time.perf_counter_ns() - before
                shortest = taken if shortest is None else min(shortest, taken)
                count += 1
            print(f"time {shortest} {count}", flush=True)
        else:
            sys.exit(f"the line `{line.strip()}` is neither check nor time")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
