"""The Python package without a page: the tests say what the page would say."""

import asyncio
import json
import tomllib
import warnings
from pathlib import Path

import linearium
import numpy as np
import pytest
from linearium import settings, widget
from linearium.results import arrays_of, unpack

REPOSITORY = Path(__file__).parents[2]


def lines(labels, run="a"):
    """Series of two points each, at the places 0, 4, 8, ... of the block."""
    return [
        {"label": label, "run": run, "emphasis": False, "x": {"$": [4 * i, 2]}, "y": {"$": [4 * i + 2, 2]}}
        for i, label in enumerate(labels)
    ]


def result_of(asked, *, query="context=128", notices=(), values=None, views=()):
    panels = [{"id": "decay", "title": "Decay", "summary": "", "views": list(views), "provenance": {}}]
    return {
        "kind": "result",
        "asked": asked,
        "query": query,
        "state": {"context": "128"},
        "panels": panels,
        "values": values or {},
        "notices": list(notices),
    }


def block(*numbers):
    return np.array(numbers, dtype="<f4").tobytes()


class Page:
    """Says to a widget what a page says, and keeps what it is told."""

    def __init__(self, element):
        self.element = element
        self.told = []
        element.send = lambda content, buffers=None: self.told.append((content, buffers))

    def says(self, content, *buffers):
        self.element._handle_custom_msg(content, [memoryview(b) for b in buffers])


@pytest.fixture
def lab():
    return linearium.Lab(context=256)


@pytest.fixture
def page(lab):
    return Page(lab)


def test_version_is_that_of_the_workspace():
    cargo = tomllib.loads((REPOSITORY / "Cargo.toml").read_text())
    assert linearium.__version__ == cargo["workspace"]["package"]["version"]
    package = tomllib.loads((REPOSITORY / "web/notebook/pyproject.toml").read_text())
    assert linearium.__version__ == package["project"]["version"] == widget._version()


def test_the_wheel_has_every_shipped_model_and_both_engines():
    for name in settings.of_lab()["model"].choices:
        if not name.startswith("random-") and name != "file":
            assert (settings.STATIC / "models" / name / "model.safetensors").is_file(), name
    for engine in ("linearium_first", "linearium"):
        for build in ("_bg", "_relaxed_bg"):
            assert (settings.STATIC / f"{engine}{build}.wasm").read_bytes()[:4] == b"\0asm"


def test_settings_are_set_by_name_and_read_back():
    lab = linearium.Lab(decay_factor=0.5, b_model="random-gla", context=np.int64(512), state={"seed": 3})
    assert lab.state == {"seed": "3", "decay-factor": "0.5", "b.model": "random-gla", "context": "512"}
    lab.context = 1024
    lab.decay_factor = None
    assert lab.state == {"seed": "3", "b.model": "random-gla", "context": "1024"}
    assert (lab.context, lab.b_model, lab.decay_factor) == ("1024", "random-gla", "1")
    lab.state = {"write-factor": 2.0}
    assert lab.state == {"write-factor": "2"}
    assert lab._asked == 4


def test_only_the_setting_state_must_be_given_in_a_dictionary():
    """A name that a widget has already could be set by nobody; this is the one that there is."""
    for element, declared in [
        (linearium.Lab, settings.of_lab()),
        *((linearium.Exhibit, settings.of_exhibit(slug)) for slug in linearium.exhibits()),
    ]:
        names = {name.replace("-", "_") for name in declared}
        assert {name for name in names if hasattr(element, name)} <= {"state"}


@pytest.mark.parametrize(
    ("mistake", "error", "sentence"),
    [
        (lambda lab: setattr(lab, "contxt", 3), ValueError, "do you mean 'context'?"),
        (lambda lab: lab.set(nothing=3), ValueError, "there is no setting 'nothing': there are model,"),
        (lambda lab: setattr(lab, "state", {"context": float("nan")}), ValueError, "is a finite number"),
        (lambda lab: setattr(lab, "context", [1]), TypeError, "a text, a number, or None"),
        (lambda lab: setattr(lab, "b_context", 1), ValueError, "there is no setting 'b_context'"),
        (lambda lab: lab.contxt, AttributeError, "no attribute and no setting 'contxt'"),
        (lambda lab: linearium.Exhibit("lmul"), ValueError, "do you mean 'l_mul'?"),
        (lambda lab: linearium.Exhibit("l_mul", context=1), ValueError, "there is no setting 'context'"),
        (lambda lab: linearium.Lab(range={"context": 3}), TypeError, "(least, most)"),
    ],
)
def test_mistakes_are_told_where_they_are_made(lab, mistake, error, sentence):
    before = dict(lab.state), lab._asked
    with pytest.raises(error) as caught:
        mistake(lab)
    assert sentence in str(caught.value)
    assert (lab.state, lab._asked) == before


def test_options_stand_as_in_attributes():
    lab = linearium.Lab(hide=["recall", "words"], lock="all", range={"context": (64, 512), "model": ["a", "b"]})
    assert (lab.hide, lab.lock, lab.range) == ("recall words", "all", "context:64..512 model:a|b")


def test_what_the_page_sets_is_not_asked_of_it(lab):
    asked = lab._asked
    lab.set_state({"state": {"context": "2048", "unknown-to-python": "1"}})
    assert lab.state["context"] == "2048" and lab._asked == asked


def test_files_of_the_package_and_no_others_are_sent(lab, page):
    page.says({"kind": "file", "ticket": "t", "path": "models/sample.txt"})
    [(answer, [data])] = page.told
    assert answer == {"kind": "file", "ticket": "t"}
    assert data == (settings.STATIC / "models/sample.txt").read_bytes()
    for path in ("../widget.py", "/etc/hostname", "models", "models/nothing"):
        page.says({"kind": "file", "ticket": "u", "path": path})
        answer, buffers = page.told[-1]
        assert buffers is None and "is not part of the Python package" in answer["error"]


def test_arrays_are_those_of_the_state_at_hand_or_none(lab, page):
    with pytest.raises(linearium.LineariumError, match="no notebook shows this Lab"):
        _ = lab.arrays
    page.says({"kind": "shown"})
    with pytest.raises(linearium.LineariumError, match="nothing has been computed for this state"):
        _ = lab.arrays
    view = {"kind": "lines", "id": "rate", "series": lines(["head 1"])}
    page.says(result_of(lab._asked, views=[view]), block(0, 1, 5, 6))
    np.testing.assert_array_equal(lab.arrays["decay"]["rate"]["head 1"], [[0, 5], [1, 6]])
    lab.context = 512
    with pytest.raises(linearium.LineariumError, match="nothing has been computed"):
        _ = lab.arrays
    # An answer that was on its way while the state was set is to the state before.
    page.says(result_of(lab._asked - 1, views=[view]), block(0, 1, 5, 6))
    with pytest.raises(linearium.LineariumError):
        _ = lab.arrays
    page.says(result_of(lab._asked, views=[view]), block(0, 1, 7, 8))
    assert lab.arrays["decay"]["rate"]["head 1"][1, 1] == 8
    page.says({"kind": "working", "state": {"context": "64"}})
    assert lab.state == {"context": "64"}
    with pytest.raises(linearium.LineariumError):
        _ = lab.arrays


def test_a_result_is_waited_for_and_asked_for(lab, page):
    async def both():
        waiting = asyncio.create_task(lab.result(timeout=5))
        await asyncio.sleep(0.1)
        page.says({"kind": "shown"})
        await asyncio.sleep(0.1)
        assert not waiting.done()
        page.says(result_of(lab._asked, values={"y": None, "z": 2}))
        return await waiting

    result = asyncio.run(both())
    # Once at once, and once when there was somebody to hear it.
    assert [content for content, _ in page.told] == [{"kind": "wanted"}] * 2
    assert result.query == "context=128" and np.isnan(result.values["y"]) and result.values["z"] == 2.0


def test_no_page_and_a_silent_page_end_in_a_sentence(lab, page, monkeypatch):
    monkeypatch.setattr(widget, "SHOWN_S", 0.1)
    with pytest.raises(linearium.LineariumError, match="no notebook shows this Lab"):
        asyncio.run(lab.result(timeout=5))
    page.says({"kind": "shown"})
    lab._heard -= 10
    with pytest.raises(linearium.LineariumError, match="the page said nothing for 0 s"):
        asyncio.run(lab.result(timeout=0.2))
    page.says({"kind": "gone"})
    with pytest.raises(linearium.LineariumError, match="run the cell that shows it again"):
        asyncio.run(lab.result(timeout=0.1))


def test_what_the_element_cannot_do_is_raised_until_something_else_is_asked(lab, page):
    page.says({"kind": "shown"})
    page.says({"kind": "error", "asked": lab._asked - 1, "message": "an old fault"})
    assert lab._fault == ""
    page.says({"kind": "error", "asked": lab._asked, "message": "The engine could not be started: no memory."})
    for attempt in (lambda: lab.arrays, lambda: asyncio.run(lab.result())):
        with pytest.raises(linearium.LineariumError, match="no memory"):
            attempt()
    lab.context = 64
    page.says(result_of(lab._asked))
    assert list(lab.arrays) == ["decay"]


def test_what_was_done_otherwise_than_asked_is_a_warning_once(lab, page):
    page.says({"kind": "shown"})
    page.says(result_of(lab._asked, notices=["context = “9” is out of range"]))
    with pytest.warns(linearium.LineariumWarning, match="out of range"):
        _ = lab.arrays
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _ = lab.arrays


def test_each_kind_of_view_has_its_numbers():
    numbers = block(*range(24))
    views = [
        {"kind": "lines", "id": "l", "series": lines(["h", "h"]) + lines(["h"], "b")},
        {"kind": "heatmap", "id": "h", "rows": 2, "columns": 3, "values": {"$": [0, 6]}},
        {
            "kind": "histogram",
            "id": "g",
            "edges": {"$": [0, 3]},
            "series": [{"label": "s", "run": "a", "counts": {"$": [3, 2]}}],
        },
        {"kind": "tokens", "id": "t", "tokens": ["a", "b"], "values": {"$": [1, 2]}},
        {
            "kind": "patches",
            "id": "p",
            "width": 2,
            "height": 3,
            "rows": 1,
            "columns": 2,
            "pixels": {"$": [0, 18]},
            "values": {"$": [0, 2]},
            "beside": {"$": [0, 0]},
        },
        {"kind": "table", "id": "b", "columns": ["n", "w"], "rows": [[1, "x"], [None, "y"]]},
    ]
    found = unpack(result_of(1, views=views), numbers).arrays["decay"]
    assert list(found["l"]) == ["h", "h (2)", "b.h"]
    np.testing.assert_array_equal(found["l"]["h (2)"], [[4, 6], [5, 7]])
    np.testing.assert_array_equal(found["h"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(found["g"]["counts"]["s"], [3, 4])
    np.testing.assert_array_equal(found["g"]["edges"], [0, 1, 2])
    np.testing.assert_array_equal(found["t"], [1, 2])
    assert found["p"]["pixels"].shape == (3, 2, 3) and found["p"]["values"].shape == (1, 2)
    np.testing.assert_array_equal(found["b"]["n"], [1, np.nan])
    assert found["b"]["w"].tolist() == ["x", "y"]
    assert found["h"].dtype == np.float32
    found["h"][0, 0] = 9  # They are the caller's to work with.
    with pytest.raises(ValueError, match="unknown kind"):
        arrays_of({"kind": "sculpture", "id": "s"})


def test_a_place_outside_the_block_is_told():
    view = {"kind": "tokens", "id": "t", "tokens": [], "values": {"$": [1, 9]}}
    with pytest.raises(ValueError, match="load it again"):
        unpack(result_of(1, views=[view]), block(1, 2))


def test_settings_tell_what_they_are():
    context = settings.of_lab()["context"]
    assert (context.type, context.default, context.min, context.max) == ("integer", "4096", 64, 65536)
    assert json.dumps(linearium.exhibits())
    assert "reduce" in linearium.Exhibit("l_mul").settings
