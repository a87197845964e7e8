"""The text that the small models are trained on: the Rust documentation books of an installed
toolchain (component rust-docs; MIT OR Apache-2.0) as plain ASCII, without what is held out.

    python text.py --docs "$(rustup doc --path | sed 's,/index.html,,')" --heldout heldout.txt --out text.bin
"""

import argparse
import html.parser
import re
from pathlib import Path

BOOKS = ["book", "reference", "nomicon", "rust-by-example", "cargo", "rustc", "edition-guide"]
BLOCKS = {"p", "div", "pre", "li", "h1", "h2", "h3", "h4", "h5", "tr", "br", "table", "ul", "ol"}
# Bytes of a held-out passage by which it is recognised.
SHINGLE = 48


class Page(html.parser.HTMLParser):
    """The text within <main>."""

    def __init__(self):
        super().__init__()
        self.inside, self.silent, self.parts = 0, 0, []

    def handle_starttag(self, tag, attributes):
        self.inside += tag == "main"
        self.silent += tag in ("script", "style", "button")
        if tag in BLOCKS:
            self.parts.append("\n")

    def handle_endtag(self, tag):
        self.inside -= tag == "main"
        self.silent -= tag in ("script", "style", "button")
        if tag in BLOCKS:
            self.parts.append("\n")

    def handle_data(self, data):
        if self.inside > 0 and self.silent == 0:
            self.parts.append(data)


def shingles(text):
    squeezed = re.sub(r"\s+", " ", text)
    return squeezed, range(0, max(1, len(squeezed) - SHINGLE + 1))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--docs", type=Path, required=True)
    parser.add_argument("--heldout", type=Path, nargs="+", required=True)
    parser.add_argument("--bytes", type=int, default=6_000_000)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    held = set()
    for path in arguments.heldout:
        squeezed, starts = shingles(path.read_text(encoding="ascii", errors="ignore"))
        held.update(squeezed[i : i + SHINGLE] for i in starts)
    kept, dropped, size = [], 0, 0
    for book in BOOKS:
        page = arguments.docs / book / "print.html"
        if not page.exists():
            raise SystemExit(f"{page} is missing: install the component rust-docs")
        reader = Page()
        reader.feed(page.read_text(encoding="utf-8"))
        text = "".join(reader.parts).encode("ascii", "ignore").decode()
        text = re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+\n", "\n", text))
        for paragraph in text.split("\n\n"):
            squeezed, starts = shingles(paragraph)
            # A shingle of the paragraph at each place: a held-out passage may begin anywhere.
            if len(squeezed) >= SHINGLE and any(squeezed[i : i + SHINGLE] in held for i in starts):
                dropped += len(paragraph)
                continue
            kept.append(paragraph + "\n\n")
            size += len(paragraph) + 2
    text = "".join(kept).encode("ascii")[: arguments.bytes]
    arguments.out.write_bytes(text)
    print(f"{len(text)} bytes kept of {size}; {dropped} bytes dropped because they are held out")


if __name__ == "__main__":
    main()
