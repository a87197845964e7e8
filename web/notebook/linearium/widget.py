"""The elements as widgets: their state is set here, and what they compute comes back."""

from __future__ import annotations

import asyncio
import time
import warnings
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from . import settings as declared
from .results import Result, unpack
from .settings import STATIC, Setting

#: A page that shows a widget says so within this time; it takes seconds where everything is new.
SHOWN_S = 15.0
PAUSE_S = 0.05


class LineariumError(RuntimeError):
    """Something that the element cannot do, or that was not there in time, in one sentence."""


class LineariumWarning(UserWarning):
    """The element went on with something else than it was asked for."""


def _version() -> str:
    try:
        return version("linearium")
    except PackageNotFoundError:
        return "from a folder"


def _words(names: str | list[str] | tuple[str, ...]) -> str:
    return names if isinstance(names, str) else " ".join(names)


def _range(bounds: str | Mapping[str, Any]) -> str:
    """``{"context": (64, 4096), "model": ["one", "two"]}`` as the attribute has it."""
    if isinstance(bounds, str):
        return bounds
    parts = []
    for name, bound in bounds.items():
        key = str(name).replace("_", "-")
        if isinstance(bound, tuple) and len(bound) == 2:
            parts.append(f"{key}:{bound[0]}..{bound[1]}")
        elif isinstance(bound, list) and bound:
            parts.append(f"{key}:{'|'.join(map(str, bound))}")
        else:
            raise TypeError(f"range of {name!r}: give (least, most) for a number or a list of choices")
    return " ".join(parts)


class _Element(anywidget.AnyWidget):
    """What the lab and an exhibit have in common."""

    _esm = Path(__file__).parent / "loader.js"

    #: The settings that are not at their defaults, as in a link. What is left out has its default.
    state = traitlets.Dict().tag(sync=True)
    #: So many results have come; whoever observes it hears of each one.
    computed = traitlets.Int(0).tag(sync=True)
    #: Controls and parts to leave out, by id, with blanks between them.
    hide = traitlets.Unicode("").tag(sync=True)
    #: Controls that cannot be changed in the picture; ``all`` fixes every one.
    lock = traitlets.Unicode("").tag(sync=True)
    #: Narrower bounds: ``context:64..4096 model:one|two``.
    range = traitlets.Unicode("").tag(sync=True)
    theme = traitlets.Enum(("auto", "light", "dark"), "auto").tag(sync=True)
    #: An assignment, as its link carries it.
    task = traitlets.Unicode("").tag(sync=True)

    #: Name of the custom element.
    _element = traitlets.Unicode().tag(sync=True)
    #: Slug of an exhibit.
    _name = traitlets.Unicode("").tag(sync=True)
    _version = traitlets.Unicode(_version()).tag(sync=True)
    #: How often Python has set the state: a result says which setting it belongs to.
    _asked = traitlets.Int(0).tag(sync=True)

    #: The settings of this element by id.
    settings: dict[str, Setting] = {}

    def __init__(
        self,
        settings: dict[str, Setting],
        values: Mapping[str, object],
        state: Mapping[str, object] | None,
        *,
        hide: str | list[str] | tuple[str, ...],
        lock: str | list[str] | tuple[str, ...],
        range: str | Mapping[str, Any],
        **more: str,
    ) -> None:
        object.__setattr__(self, "settings", settings)
        self._views = 0
        self._shown = False
        self._waiting = 0
        self._heard = time.monotonic()
        self._result: Result | None = None
        self._result_of = -1
        self._working = False
        self._fault = ""
        self._from_page = False
        self._warned: Result | None = None
        super().__init__(
            state=declared.state_of({**(state or {}), **values}, settings),
            hide=_words(hide),
            lock=_words(lock),
            range=_range(range),
            **more,
        )
        self.on_msg(self._on_message)

    # The state.

    @traitlets.validate("state")
    def _valid_state(self, proposal: Any) -> dict[str, str]:
        # The page knows what it says; what Python says is looked at.
        if self._from_page:
            return proposal["value"]
        return declared.state_of(proposal["value"], self.settings)

    @traitlets.observe("state")
    def _on_state(self, _change: object) -> None:
        if self._from_page:
            return
        self._fault = ""
        self._asked += 1

    def set_state(self, sync_data: Any) -> None:
        """What the page says of the traits."""
        self._from_page = True
        try:
            super().set_state(sync_data)
        finally:
            self._from_page = False

    def set(self, **values: object) -> None:
        """Sets some settings and leaves the others; None is the default."""
        known = {}
        for name, value in values.items():
            declared.state_of({name: value}, self.settings)
            known[declared.id_of(name, self.settings)] = value
        kept = {key: value for key, value in self.state.items() if key not in known}
        self.state = kept | declared.state_of(known, self.settings)

    def __getattr__(self, name: str) -> str:
        key = None if name.startswith("_") else declared.id_of(name, self.settings)
        if key is None:
            raise AttributeError(f"{type(self).__name__} has no attribute and no setting {name!r}")
        if key in self.state:
            return self.state[key]
        return self.settings[key.removeprefix("b.")].default

    def __setattr__(self, name: str, value: object) -> None:
        if not name.startswith("_") and not hasattr(type(self), name):
            if declared.id_of(name, self.settings) is not None:
                self.set(**{name: value})
                return
            if self._trait_values:
                # A misspelt setting would otherwise be kept by nobody.
                declared.state_of({name: value}, self.settings)
        super().__setattr__(name, value)

    # What the page says.

    def _on_message(self, _widget: object, content: dict[str, Any], buffers: list[memoryview]) -> None:
        self._heard = time.monotonic()
        kind = content.get("kind")
        if kind == "file":
            self._send_file(content)
        elif kind == "shown":
            self._shown = True
            self._views += 1
            if self._waiting:
                self.send({"kind": "wanted"})
        elif kind == "gone":
            self._views = max(0, self._views - 1)
        elif kind == "working":
            self._working = True
            self._take_state(content["state"])
        elif kind == "error":
            if content["asked"] == self._asked:
                self._fault = content["message"]
        elif kind == "result":
            self._result = unpack(content, buffers[0] if buffers else b"")
            self._result_of = content["asked"]
            self._working = False
            self._fault = ""

    def _take_state(self, state: dict[str, str]) -> None:
        self._from_page = True
        try:
            # The page has it already; told again it could undo what was chosen there meanwhile.
            with self._lock_property(state=state):
                self.state = state
        finally:
            self._from_page = False

    def _send_file(self, content: dict[str, Any]) -> None:
        answer = {"kind": "file", "ticket": content["ticket"]}
        path = str(content["path"])
        file = (STATIC / path).resolve()
        if not file.is_relative_to(STATIC.resolve()) or not file.is_file():
            self.send(answer | {"error": f"{path} is not part of the Python package"})
            return
        self.send(answer, buffers=[file.read_bytes()])

    # What has been computed.

    @property
    def _is_current(self) -> bool:
        return self._result is not None and self._result_of == self._asked and not self._working

    def _current(self) -> Result:
        result = self._result
        assert result is not None
        if result is not self._warned:
            for notice in result.notices:
                warnings.warn(notice, LineariumWarning, stacklevel=3)
            self._warned = result
        return result

    def _why_not(self, waited: float) -> str:
        what = type(self).__name__
        if self._fault:
            return self._fault
        if not self._shown:
            return (
                f"no notebook shows this {what}: make it the last line of a cell, run that cell, and ask "
                "for the result in the next one"
            )
        if self._views == 0:
            return f"this {what} is not on a page any more: run the cell that shows it again"
        if not waited:
            return (
                f"nothing has been computed for this state yet: `await` its result(), or run this cell "
                f"when the picture is there"
            )
        if time.monotonic() - self._heard >= waited:
            return (
                f"the page said nothing for {waited:.0f} s: some kernels (ipykernel before 7, marimo) take "
                "its messages only between cells, so ask for `arrays` in the next cell"
            )
        return f"the result was not there after {waited:.0f} s: give a longer `timeout`, or a shorter context"

    @property
    def arrays(self) -> dict[str, dict[str, Any]]:
        """The numbers of the picture at hand, by panel and view; see :class:`linearium.Result`.

        It does not wait: a :class:`LineariumError` says what is missing while there is none.
        """
        if not self._is_current:
            raise LineariumError(self._why_not(0))
        return self._current().arrays

    async def result(self, timeout: float = 60.0) -> Result:
        """Everything that is computed for the present state, when it is; in or out of sight.

        Waits for at most ``timeout`` seconds; a :class:`LineariumError` says why there is nothing.
        """
        begun = time.monotonic()
        self._waiting += 1
        try:
            if not self._is_current:
                self.send({"kind": "wanted"})
            while not self._is_current:
                waited = time.monotonic() - begun
                if self._fault or waited >= timeout or (not self._shown and waited >= SHOWN_S):
                    raise LineariumError(self._why_not(max(waited, PAUSE_S)))
                await asyncio.sleep(PAUSE_S)
        finally:
            self._waiting -= 1
        return self._current()


class Lab(_Element):
    """The lab: a model reads a text, and the panels show what it remembers.

    Settings are given by name (``context=1024``, ``decay_factor=0.99``, for run B ``b_model=...``) or as
    they stand in a link (``state={"decay-factor": 0.99}``). ``lab.settings`` tells all of them. The words
    on how the page works are left out unless ``hide`` says something else.
    """

    def __init__(
        self,
        *,
        state: Mapping[str, object] | None = None,
        hide: str | list[str] | tuple[str, ...] = "words",
        lock: str | list[str] | tuple[str, ...] = "",
        range: str | Mapping[str, Any] = "",
        theme: str = "auto",
        task: str = "",
        **values: object,
    ) -> None:
        super().__init__(
            declared.of_lab(),
            values,
            state,
            hide=hide,
            lock=lock,
            range=range,
            theme=theme,
            task=task,
            _element="linearium-lab",
        )


class Exhibit(_Element):
    """A paper that runs, by its name: ``Exhibit("l_mul", bits=3)``. ``linearium.exhibits()`` names all."""

    def __init__(
        self,
        name: str,
        *,
        state: Mapping[str, object] | None = None,
        hide: str | list[str] | tuple[str, ...] = "",
        lock: str | list[str] | tuple[str, ...] = "",
        range: str | Mapping[str, Any] = "",
        theme: str = "auto",
        task: str = "",
        **values: object,
    ) -> None:
        super().__init__(
            declared.of_exhibit(name),
            values,
            state,
            hide=hide,
            lock=lock,
            range=range,
            theme=theme,
            task=task,
            _element="linearium-exhibit",
            _name=name,
        )
