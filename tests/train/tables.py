"""The tables that the exhibits read, from what the training wrote.

    python tables.py --family stuffed/family.json --recall mom/recall.json --out ../../web/public/models
"""

import argparse
import json
from pathlib import Path


def family(path, out):
    data = json.loads(path.read_text())
    lengths = list(data["models"][0]["recall"])
    head = ["state", "length", "seed", "elements"]
    head += [f"excess@{e[0]}" for e in data["models"][0]["excess"]] + ["error"] + [f"recall@{n}" for n in lengths]
    lines = [
        f"# tests/train/stuffed.py: {data['steps']} steps of {data['bytes_a_step']} bytes; excess in nats at 4,096 to 8,192",
        "# " + " ".join(head),
    ]
    for m in data["models"]:
        numbers = [e[1] for e in m["excess"]] + [m["excess"][-1][2]]
        numbers += [sum(m["recall"][n]) / len(m["recall"][n]) for n in lengths]
        start = f"{m['state']} {m['length']} {m['seed']} {m['elements']} "
        lines.append(start + " ".join(f"{x:.4f}" for x in numbers))
    (out / "mamba2-family.txt").write_text("\n".join(lines) + "\n")


def recall(paths, out):
    lines = ["# tests/train/mom.py", "# kind seed pairs recall"]
    for path in paths:
        for m in json.loads(path.read_text())["models"]:
            lines += [f"{m['kind']} {m['seed']} {n} {x:.4f}" for n, x in m["recall"].items()]
    (out / "mom-recall.txt").write_text("\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--family", type=Path)
    parser.add_argument("--recall", type=Path, nargs="*", default=[])
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.family:
        family(arguments.family, arguments.out)
    if arguments.recall:
        recall(arguments.recall, arguments.out)


if __name__ == "__main__":
    main()
