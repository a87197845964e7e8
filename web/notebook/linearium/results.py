"""What an element has computed, as NumPy arrays."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Result:
    """What was computed for one state.

    ``panels`` is all of it by panel: title, summary, views with their axes and units, and under
    ``provenance`` the formula, its source, the tolerance and the back end that ran. Numbers of views
    are arrays of ``float32``; a heat map has the shape (rows, columns).
    """

    #: The state as the query of a link.
    query: str
    #: The settings that are not at their defaults.
    state: dict[str, str]
    #: Panels by id: ``decay``, ``receptive-field``, ``state``, ``cost`` and ``recall`` of the lab.
    panels: dict[str, dict[str, Any]]
    #: Live values of the symbols of an exhibit, by symbol; NaN where there is none.
    values: dict[str, float] = field(default_factory=dict)
    #: What was done otherwise than asked for, each a sentence.
    notices: tuple[str, ...] = ()

    @property
    def arrays(self) -> dict[str, dict[str, Any]]:
        """The numbers of each panel's views, by the ids of both; see :func:`arrays_of`."""
        return {
            panel: {view["id"]: arrays_of(view) for view in content["views"]}
            for panel, content in self.panels.items()
        }


def _named(series: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Series by label: those of run B have ``b.`` before it, those of one name a number behind it."""
    named: dict[str, dict[str, Any]] = {}
    for one in series:
        label = f"b.{one['label']}" if one["run"] == "b" else one["label"]
        name, count = label, 1
        while name in named:
            count += 1
            name = f"{label} ({count})"
        named[name] = one
    return named


def arrays_of(view: dict[str, Any]) -> Any:
    """The numbers of a view.

    * lines: by label an array of the shape (points, 2), x and y;
    * heat map: an array of the shape (rows, columns);
    * histogram: ``edges``, and under ``counts`` an array by label;
    * tokens: one number for each token;
    * patches: ``values`` and ``beside`` of the shape (rows, columns), ``pixels`` (height, width, 3 or 1);
    * table: each column by its name, as ``float64`` where all of it is numbers, otherwise as objects.
    """
    kind = view["kind"]
    if kind == "lines":
        return {
            name: np.column_stack((line["x"], line["y"])) for name, line in _named(view["series"]).items()
        }
    if kind in ("heatmap", "tokens"):
        return view["values"]
    if kind == "histogram":
        counts = {name: one["counts"] for name, one in _named(view["series"]).items()}
        return {"edges": view["edges"], "counts": counts}
    if kind == "patches":
        return {key: view[key] for key in ("values", "beside", "pixels")}
    if kind == "table":
        return {
            name: _column([row[at] for row in view["rows"]]) for at, name in enumerate(view["columns"])
        }
    raise ValueError(f"the view {view.get('id')!r} is of the unknown kind {kind!r}")


def _column(cells: list[Any]) -> np.ndarray:
    if all(cell is None or isinstance(cell, (int, float)) for cell in cells):
        return np.array([np.nan if cell is None else cell for cell in cells], dtype=np.float64)
    column = np.empty(len(cells), dtype=object)
    column[:] = cells
    return column


def _shaped(view: dict[str, Any]) -> dict[str, Any]:
    if view["kind"] == "heatmap":
        return view | {"values": view["values"].reshape(view["rows"], view["columns"])}
    if view["kind"] == "patches":
        grid = (view["rows"], view["columns"])
        beside, pixels = view["beside"], view["pixels"]
        return view | {
            "values": view["values"].reshape(grid),
            "beside": beside.reshape(grid) if beside.size else beside,
            "pixels": pixels.reshape(view["height"], view["width"], -1) if pixels.size else pixels,
        }
    return view


def unpack(content: dict[str, Any], block: bytes | memoryview) -> Result:
    """A result as the page sends it: ``{"$": [first, count]}`` stands for an array in the block."""
    numbers = np.frombuffer(block, dtype="<f4")

    def visit(value: Any) -> Any:
        if isinstance(value, dict):
            if set(value) == {"$"}:
                first, count = value["$"]
                if first < 0 or count < 0 or first + count > numbers.size:
                    raise ValueError(
                        f"the page sent {numbers.size} numbers and speaks of number {first + count}: "
                        "load it again"
                    )
                # A copy: the block is the messaging's, and arrays are there to be worked with.
                return numbers[first : first + count].astype(np.float32)
            return {key: visit(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [visit(inner) for inner in value]
        return value

    panels = [visit(panel) for panel in content["panels"]]
    return Result(
        query=content["query"],
        state=dict(content["state"]),
        panels={panel["id"]: panel | {"views": [_shaped(v) for v in panel["views"]]} for panel in panels},
        values={k: np.nan if v is None else float(v) for k, v in content["values"].items()},
        notices=tuple(content["notices"]),
    )
