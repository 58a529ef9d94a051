"""Curves that follow sliders: what is embedded, and toy pages in a real browser without a network."""

from __future__ import annotations

import base64
import re
from html import unescape
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from moving import Tab, built, chromium, data_of, grave
from spinscape.companion import interactive_curves
from spinscape.companion.curves_picture import SHOWN, picture
from spinscape.companion.interactive import page_html

S = [0, 1, 4, 16]
M = [8, 64, 1024]
X = np.linspace(0, 1, 11)
ALT = "Loss along a straight line, higher the more units are swapped and the fewer there are."
AXES = ("place on the line", "loss")
EVIL = '</script><img src=x onerror=alert(1)> <b>bold</b> $\\alpha$ & "more"'
GRID = [("S", S), ("M", M)]


def toy() -> np.ndarray:
    """Return two lines for each S and M, shape (4, 3, 2, 11); one combination is missing, one line too."""
    s, m, x = np.meshgrid(S, M, X, indexing="ij")
    bump = 0.02 + 4 * np.minimum(s / m, 1) * x * (1 - x)
    lines = np.stack([bump, 0.1 + 1.5 * bump], 2)
    lines[3, 0] = np.nan
    lines[2, 0, 1] = np.nan
    return lines


def settings(**changed: Any) -> dict[str, Any]:
    curves = toy()
    default = {"controls": GRID, "x": X, "curves": curves, "low": 0.9 * curves, "high": 1.2 * curves,
               "names": ["training", "held out"], "alt": ALT, "axes": AXES, "start": (4, 64)}  # fmt: skip
    return {**default, **changed}


def html_of(**given: Any) -> str:
    """Return the HTML that a cell would leave."""
    with patch.object(interactive_curves, "show") as show:
        interactive_curves.sliders(**given)
    return show.call_args.args[0]


def back(line: dict, key: str) -> np.ndarray:
    return np.array([np.nan if v is None else line["low"] + v * line["step"] for v in line[key]])


def test_each_line_is_kept_to_a_part_of_its_own_range() -> None:
    curves = toy() * np.array([1e-6, 1e6])[:, None]
    curves[0, 1, 0, 3] = np.inf
    found = data_of(html_of(**settings(curves=curves, low=curves - 1e-7, high=curves + 1)))
    assert len(found["curves"]) == 12
    for row, lines in zip(found["curves"], curves.reshape(12, 2, 11), strict=True):
        for line, true in zip(row, lines, strict=True):
            if np.isnan(true).all():
                assert line is None
                continue
            true = np.where(np.isfinite(true), true, np.nan)
            size = np.nanmax(true + 1) - np.nanmin(true - 1e-7)
            np.testing.assert_allclose(back(line, "middle"), true, atol=0.52 * size / 9999)
            np.testing.assert_allclose(back(line, "top"), true + 1, atol=0.52 * size / 9999)
    assert found["controls"][0] == {"name": "S", "values": ["0", "1", "4", "16"], "numeric": True, "start": 2}
    np.testing.assert_allclose(found["x"], X)


def test_a_logarithmic_axis_keeps_parts_of_a_value() -> None:
    curves = np.exp(np.random.default_rng(0).normal(size=(2, 11)) * 5)
    given = {"controls": [("alpha", [0.1, 0.2])], "x": X + 1, "alt": ALT, "axes": AXES, "log": (True, True)}
    found = data_of(html_of(curves=curves, **given))
    for (line,), true in zip(found["curves"], curves, strict=True):
        assert set(line) == {"low", "step", "middle"}
        np.testing.assert_allclose(10 ** back(line, "middle"), true, rtol=0.01)
    with pytest.raises(ValueError, match="positive values, not 0"):
        html_of(curves=0 * curves, **given)
    with pytest.raises(ValueError, match="positive coordinates, not 0"):
        html_of(curves=curves, **{**given, "x": X})


def test_numbers_make_sliders_and_words_do_not() -> None:
    controls = [("a", ["x", "y"]), ("b", np.array([0.1, 0.25])), ("c", [np.int64(8), 1_000_000]),
                ("d", [True, False]), ("e", [1])]  # fmt: skip
    curves = np.random.default_rng(1).normal(size=(2, 2, 2, 2, 1, 11))
    found = data_of(html_of(controls=controls, x=X, curves=curves, alt=ALT, axes=AXES))
    assert [c["numeric"] for c in found["controls"]] == [c in "bce" for c in "abcde"]
    assert [c["values"] for c in found["controls"]] == [
        ["x", "y"], ["0.1", "0.25"], ["8", "1000000"], ["True", "False"], ["1"],
    ]  # fmt: skip
    np.testing.assert_allclose(back(found["curves"][5][0], "middle"), curves[0, 1, 0, 1, 0], atol=1e-3)


def test_the_grid_of_figure_3_is_small() -> None:
    controls = [("S", list(range(10))), ("M", [64, 128, 256, 512, 1024])]
    curves = np.random.default_rng(0).normal(size=(10, 5, 2, 25)).cumsum(-1)
    page = html_of(controls=controls, x=np.linspace(0, 1, 25), curves=curves, low=curves - 1, high=curves + 1,
                   names=["training", "held out"], alt=ALT, axes=AXES)  # fmt: skip
    assert len(page) < 200_000


def test_words_cannot_break_out() -> None:
    curves = toy()[:2, :2, :1]
    page = html_of(controls=[(EVIL, [EVIL, "plain"]), ("M", [1, 2])], x=X, curves=curves, names=[EVIL],
                   alt=f"{ALT} {EVIL}", axes=(EVIL, "loss"), caption=EVIL)  # fmt: skip
    assert page.count("<script") == 1
    assert page.count("<img") == 1
    assert data_of(page)["controls"][0] == {
        "name": EVIL, "values": [EVIL, "plain"], "numeric": False, "start": 0
    }  # fmt: skip
    assert unescape(re.search(r'alt="([^"]*)"', page)[1]) == f"{ALT} {EVIL}"


def test_a_cell_leaves_one_output_with_words(capsys) -> None:
    interactive_curves.sliders(**settings())
    assert ALT in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"alt": "short"}, "in words"),
        ({"controls": []}, "1 to 6 controls, not 0"),
        ({"controls": [("S", S), ("S", M)]}, "two controls have one name"),
        ({"controls": [("S", S[::-1]), ("M", M)], "start": None}, "S: numbers must be finite and increasing"),
        ({"controls": [("S", [0, 1, 2, np.nan]), ("M", M)], "start": None}, "S: numbers must be finite"),
        ({"controls": [("S", S), ("M", ["a", "b", "a"])], "start": None}, "M: values must differ"),
        ({"controls": [("S", [0.1, 0.2, 0.3, 0.3 + 1e-9]), ("M", M)], "start": None}, "S: values must diff"),
        ({"controls": [(" ", S), ("M", M)]}, "no name"),
        ({"controls": [("S", S), ("M", [])]}, "M: there is no value"),
        ({"start": (4,)}, "one value for each of the 2 controls"),
        ({"start": (4, 65)}, "M: start 65 is none of"),
        ({"x": X[::-1]}, "finite and increasing"),
        ({"x": X[:1]}, "at least two"),
        ({"x": X[:5]}, r"ask for shape \(4, 3, 2, 5\), not \(4, 3, 2, 11\)"),
        ({"names": ["one"]}, r"\(4, 3, 1, 11\) or \(4, 3, 11\), not"),
        ({"low": None}, "both low and high"),
        ({"low": toy()[0]}, "low: shape"),
        ({"low": 2 * toy()}, "low end of a band lies above"),
        ({"curves": toy() * np.nan}, "no value is finite"),
        (
            {"curves": np.zeros((4, 3, 7, 11)), "names": list("abcdefg")},
            "7 lines in one plot are more than 6",
        ),
        (
            {"x": np.arange(2000.0), "curves": np.zeros((4, 3, 2, 2000))},
            "144000 values are more than the 100000",
        ),
    ],
)
def test_bad_input_is_refused(changed, message) -> None:
    with pytest.raises(ValueError, match=message):
        html_of(**settings(**changed))


def pictured(**given: Any) -> interactive_curves.Curves:
    """Return what the picture is drawn from, after drawing it."""
    with patch.object(interactive_curves, "picture", wraps=picture) as drawn:
        html_of(**given)
    return drawn.call_args.args[0]


def test_the_picture_has_lines_and_panels_of_some_values() -> None:
    from matplotlib.axes import Axes

    controls = [("one", [5]), ("kind", list("abcdefghijkl")), ("M", list(range(9))), ("held", ["yes", "no"])]
    curves = np.random.default_rng(0).uniform(1, 2, size=(1, 12, 9, 2, 11))
    with patch.object(Axes, "plot", autospec=True) as plot:
        pictured(controls=controls, x=X, curves=curves, alt=ALT, axes=AXES, start=(5, "a", 0, "no"))
    drawn = [call.args[2] for call in plot.call_args_list]
    assert len(drawn) == SHOWN * SHOWN
    np.testing.assert_array_equal(drawn[0], curves[0, 0, 0, 1])
    np.testing.assert_array_equal(drawn[SHOWN - 1], curves[0, -1, 0, 1])
    np.testing.assert_array_equal(drawn[-1], curves[0, -1, -1, 1])


@pytest.mark.parametrize("name", ["$\\frac$", "$", "_hidden", "\\$"])
def test_the_picture_takes_any_words(name: str) -> None:
    page = html_of(controls=[(name, [name, "other"]), ("k", [name, "b"])], x=X, curves=np.ones((2, 2, 1, 11)),
                   names=[name], alt=ALT, axes=(name, name))  # fmt: skip
    source = re.search(r'src="data:image/png;base64,([^"]*)"', page)[1]
    assert base64.b64decode(source).startswith(b"\x89PNG")


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A site with a page of all kinds of controls, one of evil words, and one with a surface besides."""
    rng = np.random.default_rng(0)
    kinds = html_of(controls=[("algorithm", ["SGD", "Adam"]), ("kind of path", ["straight line", "bent"]),
                              ("alpha", [0.1, 0.2, 0.4]), ("kappa", [0.0])], x=X,
                    curves=rng.uniform(1, 9, size=(2, 2, 3, 1, 11)), alt=ALT, axes=AXES,
                    log=(False, True))  # fmt: skip
    evil = html_of(controls=[(EVIL, [EVIL, "plain"])], x=X, curves=toy()[1, 1:], names=[EVIL, "b"], alt=ALT,
                   axes=(EVIL, EVIL))  # fmt: skip
    surface = page_html([(X, X, np.add.outer(X, X), "plane")], alt=ALT, axes=("x", "y", "z"))
    folder = tmp_path_factory.mktemp("sliding")
    first = html_of(**settings(caption="Means and 95% intervals."))
    return built(folder, sliding=[first, kinds], evil=[evil], mixed=[surface, first])


@pytest.fixture(scope="module")
def browser():
    with chromium() as opened:
        yield opened


def drawn(tab: Tab, count: int) -> None:
    for k in range(count):
        figure = tab.page.locator("figure.spinscape-curves").nth(k)
        figure.scroll_into_view_if_needed()
        figure.locator("xpath=self::*[contains(@class, 'drawn')]").wait_for()


@pytest.fixture(scope="module")
def opened(site: Path, browser):
    """The page with its curves drawn, opened from a file without a network."""
    tab = Tab(browser, viewport={"width": 1100, "height": 900}, offline=True)
    tab.open(site / "sliding.html")
    drawn(tab, 2)
    yield tab
    tab.context.close()


@pytest.fixture
def tab(opened):
    """The page as it was opened."""
    opened.errors.clear()
    opened.asked.clear()
    opened.page.reload()
    drawn(opened, 2)
    return opened


LINES = """k => document.querySelectorAll('.spinscape-curves-plot')[k].data
    .filter(one => one.fill === undefined).map(one => one.y)"""


def shown(tab: Tab, true: np.ndarray, k: int = 0) -> None:
    """Wait until the plot shows these lines."""
    size = 1 + np.nan_to_num(np.abs(true)).max()
    wanted = [[None if np.isnan(v) else v for v in line] for line in true.tolist()]
    tab.page.wait_for_function(
        f"""([k, wanted, near]) => {{ const found = ({LINES})(k); return found.length === wanted.length
        && wanted.every((line, i) => line.every((v, j) => v === null ? found[i][j] === null
        : found[i][j] !== null && Math.abs(found[i][j] - v) < near)); }}""",
        arg=[k, wanted, 1e-3 * size],
    )


def heights(tab: Tab) -> list[float]:
    return tab.page.evaluate("document.querySelector('.spinscape-curves-plot').layout.yaxis.range")


def readout(tab: Tab, k: int = 0) -> str:
    return tab.page.locator(".spinscape-curves-readout").nth(k).inner_text()


def test_it_draws_offline_from_a_file(site: Path, tab) -> None:
    page = tab.page
    shown(tab, toy()[2, 1])
    assert page.locator(".spinscape-curves-plot").first.get_attribute("aria-label") == ALT
    assert not page.locator("figure.spinscape-curves > img").first.is_visible()
    text = page.locator(".spinscape-curves-plot").first.text_content()
    assert all(word in text for word in ("training", "held out", *AXES))
    assert all(url.startswith(("file:", "data:", "blob:")) for url in tab.asked)
    assert not (site / "_static" / "embedded.py").exists()
    assert tab.errors == []
    value = toy()[2, 1, 0]
    said = f"training: {value[0]:.3g} at 0, {value[-1]:.3g} at 1; highest {value.max():.3g} at 0.5"
    assert said in readout(tab)
    assert readout(tab).startswith("S = 4, M = 64.")


def test_keys_move_the_sliders(tab) -> None:
    page = tab.page
    page.get_by_label("S", exact=True).focus()
    page.keyboard.press("ArrowLeft")
    shown(tab, toy()[1, 1])
    page.keyboard.press("End")
    shown(tab, toy()[3, 1])
    assert page.get_by_label("S", exact=True).get_attribute("aria-valuetext") == "16"
    page.keyboard.press("Tab")
    page.keyboard.press("End")
    shown(tab, toy()[3, 2])
    outputs = page.locator("figure.spinscape-curves").first.locator("output").all_inner_texts()
    assert outputs == ["16", "1024"]
    focused = "(one => [one.type, getComputedStyle(one).outlineStyle, getComputedStyle(one).outlineWidth])"
    style = page.evaluate(f"{focused}(document.activeElement)")
    assert style == ["range", "solid", "2px"]
    assert tab.errors == []


def test_the_mouse_drags_a_slider(tab) -> None:
    slider = tab.page.get_by_label("S", exact=True)
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    y = box["y"] + box["height"] / 2
    tab.page.mouse.move(box["x"] + box["width"] * 2 / 3, y)
    tab.page.mouse.down()
    tab.page.mouse.move(box["x"] + 2, y, steps=10)
    tab.page.mouse.up()
    shown(tab, toy()[0, 1])


def test_the_vertical_axis_is_the_same_for_all_until_it_is_to_fit(tab) -> None:
    page = tab.page
    everywhere = heights(tab)
    assert everywhere[0] < np.nanmin(0.9 * toy())
    assert everywhere[1] > np.nanmax(1.2 * toy())
    page.get_by_label("S", exact=True).focus()
    page.keyboard.press("Home")
    shown(tab, toy()[0, 1])
    assert heights(tab) == everywhere
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.wait_for_function(
        "high => document.querySelector('.spinscape-curves-plot').layout.yaxis.range[1] < high / 2",
        arg=everywhere[1],
    )
    assert page.get_by_label("Fit the vertical axis").first.is_checked()
    low, high = heights(tab)
    assert low < 0.9 * toy()[0, 1].min()
    assert 1.2 * toy()[0, 1].max() < high < 1.4 * toy()[0, 1].max()


def test_what_is_missing_is_said(tab) -> None:
    page = tab.page
    page.get_by_label("M", exact=True).focus()
    page.keyboard.press("Home")
    shown(tab, toy()[2, 0])
    assert "held out: no curve here." in readout(tab)
    page.get_by_label("S", exact=True).focus()
    page.keyboard.press("End")
    shown(tab, toy()[3, 0])
    assert readout(tab) == "There is no curve for S = 16, M = 8."
    assert "no curve here" in page.locator(".spinscape-curves-plot").first.text_content()
    page.keyboard.press("Home")
    shown(tab, toy()[0, 0])
    assert "no curve here" not in page.locator(".spinscape-curves-plot").first.text_content()
    assert tab.errors == []


def test_words_are_chosen_from_lists_by_keyboard(tab) -> None:
    curves = np.random.default_rng(0).uniform(1, 9, size=(2, 2, 3, 1, 11))
    figure = tab.page.locator("figure.spinscape-curves").nth(1)
    shown(tab, curves[0, 0, 0], 1)
    figure.get_by_label("algorithm").focus()
    tab.page.keyboard.press("ArrowDown")
    shown(tab, curves[1, 0, 0], 1)
    figure.get_by_label("kind of path").select_option("bent")
    shown(tab, curves[1, 1, 0], 1)
    figure.get_by_label("alpha").focus()
    tab.page.keyboard.press("ArrowRight")
    shown(tab, curves[1, 1, 1], 1)
    assert readout(tab, 1).startswith("algorithm = Adam, kind of path = bent, alpha = 0.2, kappa = 0.")
    # One value leaves no choice.
    assert figure.locator("input[type=range]").count() == 1
    assert "kappa" in figure.inner_text()


def _light(colour: str) -> float:
    parts = (
        [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
        if colour[0] == "#"
        else re.findall(r"\d+", colour)[:3]
    )
    linear = [
        v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (int(p) / 255 for p in parts)
    ]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


@pytest.mark.parametrize("mode", ["dark", "light"])
def test_it_is_accessible_and_follows_the_theme(tab, mode: str) -> None:
    tab.page.evaluate("document.documentElement.dataset.theme = 'light'")
    tab.page.evaluate(f"document.documentElement.dataset.theme = '{mode}'")
    ink = "getComputedStyle(document.querySelector('.spinscape-curves-plot .xtitle')).fill"
    tab.page.wait_for_function(f"{ink} === getComputedStyle(document.body).color")
    ground = _light(tab.page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert (ground < 0.1) == (mode == "dark")
    colours = tab.page.evaluate("document.querySelector('.spinscape-curves-plot').data.filter("
                                "one => one.fill === undefined).map(one => one.line.color)")  # fmt: skip
    for colour in colours:
        high, low = sorted([_light(colour), ground], reverse=True)
        assert (high + 0.05) / (low + 0.05) > 3
    assert tab.errors == []
    # axe-core fetches style sheets, which a page from a file may not.
    assert grave(tab, "figure.spinscape-curves") == []


def test_all_colours_stand_out() -> None:
    script = Path(interactive_curves.__file__).with_name("curves.js").read_text(encoding="utf-8")
    for name, ground in (("onLight", 1.0), ("onDark", _light("#222832"))):
        palette = re.findall(r"#\w{6}", re.search(rf"{name} = \[(.*?)\]", script)[1])
        assert len(palette) == interactive_curves.LINES
        for colour in palette:
            high, low = sorted([_light(colour), ground], reverse=True)
            assert (high + 0.05) / (low + 0.05) > 3, colour


def test_words_are_text_and_never_html(site: Path, browser) -> None:
    evil = Tab(browser, offline=True)
    evil.open(site / "evil.html")
    drawn(evil, 1)
    figure = evil.page.locator("figure.spinscape-curves")
    assert figure.locator("label").first.text_content() == EVIL
    assert figure.locator("option").first.text_content() == EVIL
    assert EVIL in readout(evil)
    plot = figure.locator(".spinscape-curves-plot")
    assert plot.locator(".legendtext").first.text_content() == EVIL
    assert plot.locator(".xtitle").text_content() == EVIL
    assert figure.locator("b, [onerror], mjx-container, .MathJax").count() == 0
    assert figure.locator("tspan[style*=bold]").count() == 0
    assert evil.errors == []
    evil.context.close()


def test_dark_on_a_phone_and_in_print(site: Path, browser) -> None:
    phone = Tab(browser, viewport={"width": 390, "height": 844}, color_scheme="dark", offline=True)
    phone.open(site / "sliding.html")
    drawn(phone, 2)
    page = phone.page
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 390
    parts = "label, input, select, output, .spinscape-curves-plot, .legendtext, .xtick text, .ytick text"
    for part in page.locator("figure.spinscape-curves").first.locator(parts).all():
        box = part.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
    sizes = page.eval_on_selector_all(
        ".spinscape-curves-plot .xtick text, .spinscape-curves-readout, .spinscape-curves output",
        "all => all.map(one => parseFloat(getComputedStyle(one).fontSize))",
    )
    assert min(sizes) >= 12
    for one in page.locator(".spinscape-curves input[type=range], .spinscape-curves select").all():
        assert one.bounding_box()["height"] >= 24
        assert one.bounding_box()["width"] >= 150
    ink = "getComputedStyle(document.querySelector('.spinscape-curves-plot .xtitle')).fill"
    assert page.evaluate(ink) == page.evaluate("getComputedStyle(document.body).color")
    page.emulate_media(media="print")
    assert page.locator("figure.spinscape-curves > img").first.is_visible()
    assert not page.locator(".spinscape-curves-stage").first.is_visible()
    assert phone.errors == []
    phone.context.close()


@pytest.mark.parametrize("without", ["scripts", "library"])
def test_the_picture_stays_where_nothing_can_be_drawn(site: Path, browser, without: str) -> None:
    tab = Tab(browser, java_script_enabled=without != "scripts", viewport={"width": 390, "height": 800})
    if without == "library":
        tab.page.route(re.compile("plotly.min.js"), lambda route: route.abort())
        with tab.page.expect_console_message(lambda m: "plotly.min.js is missing" in m.text):
            tab.open(site / "sliding.html")
            tab.page.locator("figure.spinscape-curves").first.scroll_into_view_if_needed()
    else:
        tab.open(site / "sliding.html")
    image = tab.page.locator("figure.spinscape-curves > img").first
    assert image.is_visible()
    assert image.get_attribute("alt") == ALT
    assert tab.page.locator(".spinscape-curves-stage").count() == 0
    # A picture of many panels scrolls within its figure.
    assert image.bounding_box()["width"] > 600
    assert tab.page.locator("html").evaluate("one => one.scrollWidth") <= 390
    tab.context.close()


def test_pages_load_what_they_need_once(site: Path, browser) -> None:
    tab = Tab(browser, offline=True)
    for name, wanted in (("mixed", {"figures.js", "surfaces.js", "curves.js", "plotly.min.js"}),
                         ("sliding", {"figures.js", "curves.js", "plotly.min.js"}),
                         ("plain", set())):  # fmt: skip
        tab.asked.clear()
        tab.open(site / f"{name}.html")
        if name == "mixed":
            tab.page.wait_for_selector("figure.spinscape-surfaces.drawn")
        if wanted:
            drawn(tab, 1)
        asked = [re.search(r"(figures|surfaces|curves|plotly\.min)\.js", url) for url in tab.asked]
        assert sorted(one[0] for one in asked if one) == sorted(wanted)
    assert tab.errors == []
    tab.context.close()
