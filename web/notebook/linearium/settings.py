"""The settings of the elements, as the engine declared them when the package was built."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

STATIC = Path(__file__).parent / "static"


@dataclass(frozen=True)
class Setting:
    """A control of the lab or of an exhibit, by the name that it has in links."""

    id: str
    label: str
    #: ``choice``, ``integer``, ``number`` or ``text``.
    type: str
    default: str
    help: str
    unit: str = ""
    #: Ids of the choices; empty if it is none.
    choices: tuple[str, ...] = ()
    #: Bounds of a number.
    min: float | None = None
    max: float | None = None
    #: Whether run B may have another value, under ``b.`` and the id.
    comparable: bool = False


@cache
def _declared() -> dict[str, Any]:
    file = STATIC / "settings.json"
    if not file.is_file():
        raise RuntimeError(
            f"{file} is missing: this copy of linearium has no built files; "
            "install the wheel that `cargo xtask notebook` builds"
        )
    return json.loads(file.read_text(encoding="utf-8"))


def _read(declared: list[dict[str, Any]]) -> dict[str, Setting]:
    return {
        d["id"]: Setting(
            id=d["id"],
            label=d["label"],
            type=d["type"],
            default=d["default"],
            help=d["help"],
            unit=d["unit"],
            choices=tuple(choice["id"] for choice in d.get("choices", ())),
            min=d.get("min"),
            max=d.get("max"),
            comparable=d["comparable"],
        )
        for d in declared
    }


def of_lab() -> dict[str, Setting]:
    """The settings of the lab by id."""
    return _read(_declared()["lab"])


def of_exhibit(slug: str) -> dict[str, Setting]:
    """The settings of an exhibit by id; a ``ValueError`` if there is none of this name."""
    found = _declared()["exhibits"].get(slug)
    if found is None:
        raise ValueError(f"there is no exhibit {slug!r}{_instead(slug, exhibits())}")
    return _read(found["controls"])


def exhibits() -> dict[str, str]:
    """The titles of all exhibits, by the names that :class:`linearium.Exhibit` takes."""
    return {slug: exhibit["title"] for slug, exhibit in _declared()["exhibits"].items()}


def _instead(name: str, names: Mapping[str, Any]) -> str:
    near = get_close_matches(name, names, n=1)
    return f"; do you mean {near[0]!r}?" if near else f": there are {', '.join(names)}"


def id_of(name: str, settings: Mapping[str, Setting]) -> str | None:
    """The id that a name of Python stands for: ``decay_factor`` is ``decay-factor``, ``b_model`` is ``b.model``."""
    if name in settings:
        return name
    hyphens = name.replace("_", "-")
    if hyphens in settings:
        return hyphens
    for prefix in ("b.", "b-"):
        rest = hyphens.removeprefix(prefix)
        if rest != hyphens and rest in settings and settings[rest].comparable:
            return f"b.{rest}"
    return None


def text_of(name: str, value: object) -> str:
    """A value as it stands in a link; a ``TypeError`` or ``ValueError`` if it cannot stand there."""
    if isinstance(value, str):
        return value
    item = getattr(value, "item", None)
    if item is not None and getattr(value, "ndim", 0) == 0:
        value = item()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} = {value!r}: a setting is a text, a number, or None for its default")
    if not math.isfinite(value):
        raise ValueError(f"{name} = {value!r}: a setting is a finite number")
    return str(int(value)) if float(value).is_integer() and abs(value) < 2**53 else repr(value)


def state_of(values: Mapping[str, object], settings: Mapping[str, Setting]) -> dict[str, str]:
    """A state as links have it; what is None is left out. A sentence for what there is not."""
    state: dict[str, str] = {}
    for name, value in values.items():
        key = id_of(str(name), settings)
        if key is None:
            raise ValueError(f"there is no setting {name!r}{_instead(str(name), settings)}")
        if value is not None:
            state[key] = text_of(name, value)
    return state
