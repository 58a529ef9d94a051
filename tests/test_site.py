"""The built site in a real browser: every page of the book at the `tiny` profile."""

from __future__ import annotations

import functools
import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import nbformat
import pytest

from spinscape.companion import ledger

ROOT = Path(__file__).resolve().parents[1]
HTML = ROOT / "_build" / "tiny" / "html"
PAGES = [
    "intro",
    "spin_glass_theory",
    "critical_points",
    "random_walks",
    "permutation_symmetry",
    "rsb_clustering",
    "mode_connectivity",
    "flatness",
    "star_shaped",
    "ledger",
    "status",
    "bibliography",
]
CHAPTERS = {
    "spin_glass_theory",
    "critical_points",
    "random_walks",
    "permutation_symmetry",
    "rsb_clustering",
    "mode_connectivity",
    "flatness",
    "star_shaped",
}
OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


def _chromium() -> str:
    named = os.environ.get("SPINSCAPE_CHROMIUM")
    found = named or shutil.which("chromium") or shutil.which("chromium-browser")
    if not found:
        if os.environ.get("CI") == "true":
            pytest.fail("no Chromium found; with CI=true the browser tests must run")
        pytest.skip("no Chromium found (Debian: apt install chromium)")
    return found


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def book() -> Path:
    _chromium()
    command = [sys.executable, "-m", "spinscape.companion.cli", "build", "--profile", "tiny"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return HTML


@pytest.fixture(scope="module")
def address(book: Path):
    handler = functools.partial(_Quiet, directory=str(book))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=_chromium(), args=OPTIONS)
        yield opened
        opened.close()


@pytest.fixture
def tab(browser):
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    yield opened
    context.close()


def test_the_list_of_pages_is_the_table_of_contents(book: Path) -> None:
    built = {p.stem for p in book.glob("*.html")} - {"index", "genindex", "search", "prf-prf"}
    assert built == set(PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_page_is_whole(address: str, tab, name: str) -> None:
    errors: list[str] = []
    tab.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    tab.on("pageerror", lambda e: errors.append(str(e)))
    tab.on("requestfailed", lambda r: errors.append(f"failed: {r.url}"))
    tab.on("response", lambda r: errors.append(f"{r.status}: {r.url}") if r.status >= 400 else None)
    outside: list[str] = []
    tab.on("request", lambda r: None if r.url.startswith((address, "data:")) else outside.append(r.url))
    tab.goto(f"{address}/{name}.html", wait_until="networkidle")
    assert errors == []
    assert outside == []
    images = tab.eval_on_selector_all("article img", "all => all.map(i => [i.src, i.naturalWidth, i.alt])")
    assert all(width > 0 for _, width, _ in images)
    assert all(len(alt) > 20 for _, _, alt in images), "every figure says in words what it shows"
    assert tab.locator("article h1").count() == 1


@pytest.mark.parametrize("name", PAGES)
def test_mathematics_is_typeset(address: str, tab, name: str) -> None:
    tab.goto(f"{address}/{name}.html", wait_until="networkidle")
    written = tab.locator("article .math").count()
    if written:
        tab.wait_for_selector("mjx-container")
    assert tab.locator("mjx-container").count() >= written
    assert tab.locator("mjx-merror").count() == 0
    prose = tab.evaluate(
        "() => { const copy = document.querySelector('article').cloneNode(true);"
        " copy.querySelectorAll('pre').forEach(code => code.remove()); return copy.textContent; }"
    )
    assert not re.search(r"\$[^$\n]+\$|\{\{|\}\}", prose)


def test_some_page_has_mathematics(address: str, tab) -> None:
    tab.goto(f"{address}/random_walks.html", wait_until="networkidle")
    tab.wait_for_selector("mjx-container")
    assert tab.locator("mjx-container").count() > 5


def test_numbers_shown_are_the_recorded_ones(address: str, tab) -> None:
    notebook = nbformat.read(ROOT / "_build/tiny/executed/random_walks.ipynb", as_version=4)
    records = ledger.read(notebook)
    numbers = ledger.numbers(records, records.parameters, {})
    tab.goto(f"{address}/random_walks.html", wait_until="networkidle")
    shown = tab.eval_on_selector_all(
        "span.measured", "all => all.map(s => [s.dataset.key, s.dataset.format, s.textContent])"
    )
    assert len(shown) >= 10
    for key, style, text in shown:
        if not key.endswith(".verdict"):
            assert text == format(numbers[key], style), key


def test_every_measured_number_is_one(book: Path) -> None:
    """No page shows nan, inf, None or nothing where a measured number should be."""
    shown = {
        name: re.findall(
            r'<span class="measured" data-key="([^"]*)"[^>]*>([^<]*)</span>',
            (book / f"{name}.html").read_text(encoding="utf-8"),
        )
        for name in PAGES
    }
    assert {name for name, numbers in shown.items() if len(numbers) >= 10} == CHAPTERS
    wrong = [
        f"{name}: {key} is {text!r}"
        for name, numbers in shown.items()
        for key, text in numbers
        if re.search(r"\b(?:nan|inf|none|no value)\b", text, flags=re.IGNORECASE) or not text.strip()
    ]
    assert wrong == []


def test_tables_that_cells_make_are_tables(address: str, tab) -> None:
    tab.goto(f"{address}/flatness.html")
    made = tab.locator(".cell_output table")
    assert made.count() == 3
    assert made.first.locator("th").first.inner_text() == "network"
    assert "| :--" not in tab.locator("article").inner_text()


def test_search_finds_a_word(address: str, tab) -> None:
    tab.goto(f"{address}/search.html?q=plateau", wait_until="networkidle")
    tab.wait_for_selector("#search-results li")
    assert "random_walks" in tab.locator("#search-results").inner_html()


@pytest.mark.parametrize("name", PAGES)
def test_no_sideways_scroll_on_a_phone(address: str, browser, name: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844})
    tab = context.new_page()
    tab.goto(f"{address}/{name}.html", wait_until="networkidle")
    width = tab.evaluate("document.scrollingElement.scrollWidth")
    context.close()
    assert width <= 390


def test_the_number_of_an_equation_stands_below_it_on_a_phone(address: str, browser) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844})
    tab = context.new_page()
    tab.goto(f"{address}/random_walks.html", wait_until="networkidle")
    tab.wait_for_selector("div.math mjx-container")
    gaps = tab.eval_on_selector_all(
        "div.math:has(> .eqno)",
        "all => all.map(m => m.querySelector('.eqno').getBoundingClientRect().top"
        " - m.querySelector('mjx-container').getBoundingClientRect().bottom)",
    )
    context.close()
    assert gaps
    assert all(gap >= 0 for gap in gaps)


SCROLLERS = (
    "all => all.map(f => ({wider: f.scrollWidth > f.clientWidth, tab: f.getAttribute('tabindex'),"
    " role: f.getAttribute('role'), label: f.getAttribute('aria-label')}))"
)


def test_figures_that_scroll_are_regions_with_names_and_others_are_not(address: str, browser) -> None:
    from axe_playwright_python.sync_playwright import Axe

    context = browser.new_context(viewport={"width": 390, "height": 844})
    tab = context.new_page()
    tab.goto(f"{address}/rsb_clustering.html", wait_until="load")
    narrow = tab.eval_on_selector_all("figure.wide", SCROLLERS)
    found = Axe().run(tab, context="article").response["violations"]
    tab.set_viewport_size({"width": 1280, "height": 900})
    tab.wait_for_function("() => !document.querySelector('figure.wide[role]')")
    broad = tab.eval_on_selector_all("figure.wide", SCROLLERS)
    context.close()
    assert narrow
    assert all(f["wider"] and f["tab"] == "0" and f["role"] == "region" for f in narrow)
    assert len({f["label"] for f in narrow}) == len(narrow)
    assert all(len(f["label"]) > 15 for f in narrow)
    assert [v["id"] for v in found if v["impact"] in {"serious", "critical"} or "region" in v["id"]] == []
    assert [v["id"] for v in found if v["id"].startswith("landmark")] == []
    assert broad == [{"wider": False, "tab": None, "role": None, "label": None}] * len(narrow)


@pytest.mark.parametrize("name", PAGES)
def test_links_within_the_book_lead_somewhere(book: Path, address: str, tab, name: str) -> None:
    tab.goto(f"{address}/{name}.html", wait_until="networkidle")
    links = tab.eval_on_selector_all("article a[href]", "all => all.map(a => a.href)")
    for link in {link for link in links if link.startswith(address)}:
        path, _, fragment = link.removeprefix(address + "/").partition("#")
        target = book / path
        assert target.is_file(), link
        if fragment:
            assert f'id="{fragment}"' in target.read_text(encoding="utf-8"), link


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_article_is_accessible(address: str, browser, name: str, mode: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme=mode)
    tab = context.new_page()
    tab.goto(f"{address}/{name}.html", wait_until="networkidle")
    assert tab.get_attribute("html", "data-theme") == mode
    found = Axe().run(tab, context="article").response["violations"]
    # sphinxcontrib-bibtex puts anchors into the list of references, which axe-core objects to.
    known = {"aria-required-children"} if name == "bibliography" else set()
    context.close()
    grave = [
        (v["id"], node["target"], node["failureSummary"])
        for v in found
        if v["impact"] in {"serious", "critical"} and v["id"] not in known
        for node in v["nodes"]
    ]
    assert grave == []
