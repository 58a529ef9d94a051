"""Surfaces that turn: what is embedded, and a toy page in a real browser without a network."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest

from moving import Tab, built, chromium, data_of, grave
from spinscape.companion import interactive, sphinx_scripts
from spinscape.companion.interactive import page_html
from toybook import REPOSITORY

X = np.linspace(-1, 1, 21)
A, B = np.meshgrid(X, X, indexing="ij")
ALT = "Two toy surfaces side by side: a bowl on the left and a saddle on the right."
AXES = ("first", "second", "height")


def test_heights_are_kept_to_a_part_in_ten_thousand() -> None:
    y = np.linspace(0, 3, 4)
    z = np.arange(12.0).reshape(3, 4) ** 2
    z[1, 2] = np.nan
    (found,) = data_of(page_html([([0, 1, 5], y, z, "one")], alt=ALT, axes=AXES))["surfaces"]
    back = np.array([[np.nan if v is None else found["low"] + v * found["step"] for v in found["z"]]])
    np.testing.assert_allclose(back.reshape(4, 3).T, z, atol=0.51 * 121 / 9999)
    assert found["x"] == [0, 1, 5]
    assert found["label"] == "one"
    (flat,) = data_of(page_html([(X, X, 0 * A + 2, "flat")], alt=ALT, axes=AXES))["surfaces"]
    assert (flat["low"], flat["step"], set(flat["z"])) == (2, 0, {0})


def test_a_pair_of_61_by_61_is_small() -> None:
    x = np.linspace(-1, 1, 61)
    z = np.random.default_rng(0).normal(size=(61, 61)).cumsum(0)
    assert len(page_html([(x, x, z, "one"), (x, x, -z, "two")], alt=ALT, axes=AXES)) < 150_000


def test_words_cannot_break_out() -> None:
    evil = '</script><script>alert("x")</script>'
    page = page_html([(X, X, A, evil)], alt=f'{ALT} "{evil}', axes=(evil, "b", "c"), caption=evil)
    assert page.count("<script") == 1
    assert data_of(page)["surfaces"][0]["label"] == evil
    assert unescape(re.search(r'alt="([^"]*)"', page)[1]) == f'{ALT} "{evil}'


def test_a_cell_leaves_one_output_with_words(capsys) -> None:
    interactive.surfaces([(X, X, A**2, "bowl")], alt=ALT)
    assert ALT in capsys.readouterr().out


@pytest.mark.parametrize(
    ("items", "alt", "message"),
    [
        ([], ALT, "no surface"),
        ([(X, X, A, "one")], "short", "in words"),
        ([(X, X[:5], A, "one")], ALT, "do not fit"),
        ([(X[::-1], X, A, "one")], ALT, "increasing"),
        ([([0.0], [0.0], [[1.0]], "one")], ALT, "at least two"),
        ([(X, X, np.nan * A, "one")], ALT, "no height is finite"),
        ([(np.arange(300.0), np.arange(300.0), np.zeros((300, 300)), "one")], ALT, "40000"),
    ],
)
def test_bad_input_is_refused(items, alt, message) -> None:
    with pytest.raises(ValueError, match=message):
        page_html(items, alt=alt, axes=AXES)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A site of two pages, one of which has surfaces."""
    html = page_html([(X, X, A**2 + B**2, "bowl"), (X, X, A**2 - B**2, "saddle")], alt=ALT, axes=AXES)
    return built(tmp_path_factory.mktemp("turning"), turning=[html])


@pytest.fixture(scope="module")
def browser():
    with chromium() as opened:
        yield opened


def drawn(tab: Tab) -> None:
    tab.page.locator("figure.spinscape-surfaces").scroll_into_view_if_needed()
    tab.page.wait_for_selector("figure.spinscape-surfaces.drawn .gl-container canvas")


def eye(tab: Tab) -> dict:
    return tab.page.evaluate("document.querySelector('.spinscape-surfaces-plot').layout.scene.camera.eye")


@pytest.fixture(scope="module")
def tab(site: Path, browser):
    """The page with its surfaces drawn, opened from a file without a network."""
    opened = Tab(browser, viewport={"width": 1100, "height": 900}, offline=True)
    opened.open(site / "turning.html")
    drawn(opened)
    yield opened
    opened.context.close()


def test_it_draws_offline_from_a_file(site: Path, tab) -> None:
    page = tab.page
    assert page.locator(".spinscape-surfaces-plot").get_attribute("aria-label") == ALT
    assert page.locator(".spinscape-surfaces-plot canvas").count() == 2
    assert not page.locator("figure.spinscape-surfaces > img").is_visible()
    text = page.locator(".spinscape-surfaces-plot").text_content()
    assert "bowl" in text
    assert "saddle" in text
    assert (site / "_static" / "plotly.min.js").stat().st_size > 10**6
    assert sum("plotly.min.js" in url for url in tab.asked) == 1
    assert all(url.startswith(("file:", "data:", "blob:")) for url in tab.asked)
    assert tab.errors == []


def test_mouse_and_keyboard_turn_it(tab) -> None:
    now = "document.querySelector('.spinscape-surfaces-plot').layout.scene.camera.eye"
    moved = f"x => Math.abs({now}.x - x) > 0.05"
    page = tab.page
    before = eye(tab)
    box = page.locator(".spinscape-surfaces-plot canvas").first.bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + 80, middle[1] + 10, steps=8)
    page.mouse.up()
    page.wait_for_function(moved, arg=before["x"])
    turned = eye(tab)
    page.get_by_role("button", name="Turn left").focus()
    page.keyboard.press("Enter")
    page.wait_for_function(moved, arg=turned["x"])
    assert tab.errors == []


@pytest.mark.parametrize("mode", ["dark", "light"])
def test_it_is_accessible_and_follows_the_theme(tab, mode: str) -> None:
    tab.page.evaluate(f"document.documentElement.dataset.theme = '{mode}'")
    tab.page.wait_for_function(
        "getComputedStyle(document.querySelector('.spinscape-surfaces-plot .annotation-text')).fill"
        " === getComputedStyle(document.body).color"
    )
    assert grave(tab, "figure.spinscape-surfaces") == []


def test_other_pages_do_not_load_the_library(site: Path, browser) -> None:
    other = Tab(browser, offline=True)
    other.open(site / "plain.html")
    assert other.asked
    assert not [url for url in other.asked if re.search("plotly|surfaces.js|figures.js", url)]
    other.context.close()


def test_dark_on_a_phone_and_in_print(site: Path, browser) -> None:
    phone = Tab(browser, viewport={"width": 390, "height": 844}, color_scheme="dark", offline=True)
    phone.open(site / "turning.html")
    drawn(phone)
    page = phone.page
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 390
    boxes = [one.bounding_box() for one in page.locator(".spinscape-surfaces-plot canvas").all()]
    assert boxes[1]["y"] > boxes[0]["y"] + 200
    ink = "getComputedStyle(document.querySelector('.spinscape-surfaces-plot .annotation-text')).fill"
    assert page.evaluate(ink) == page.evaluate("getComputedStyle(document.body).color")
    page.emulate_media(media="print")
    assert page.locator("figure.spinscape-surfaces > img").is_visible()
    assert not page.locator(".spinscape-surfaces-plot").is_visible()
    assert phone.errors == []
    phone.context.close()


@pytest.mark.parametrize("without", ["scripts", "webgl"])
def test_the_picture_stays_where_nothing_can_be_drawn(site: Path, browser, without: str) -> None:
    tab = Tab(browser, java_script_enabled=without != "scripts", offline=True)
    if without == "webgl":
        tab.page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
    tab.open(site / "turning.html")
    picture = tab.page.locator("figure.spinscape-surfaces > img")
    assert picture.is_visible()
    assert picture.get_attribute("alt") == ALT
    assert tab.page.locator(".spinscape-surfaces-plot").count() == 0
    # Without scripts the browser gives up what it had begun to fetch.
    assert tab.errors == [] or without == "scripts"
    tab.context.close()


def test_a_site_without_surfaces_has_no_library(tmp_path: Path) -> None:
    site = built(tmp_path)
    assert not list(site.rglob("plotly.min.js"))
    assert not list(site.rglob("figures.js"))


def test_the_script_is_installed_with_the_library(tmp_path: Path) -> None:
    for name in (sphinx_scripts.SHARED, *sphinx_scripts.SCRIPTS.values()):
        assert (REPOSITORY / "lib/spinscape/companion" / name).is_file()
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    assert '"spinscape.companion" = ["*.js"]' in text
