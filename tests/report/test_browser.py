"""The pages in Debian's chromium, at desktop and phone width."""

import base64
import itertools
import json
import shutil
from dataclasses import asdict

import numpy as np
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from pd.config import parse_settings
from pd.report.compare import compare, write_comparison
from pd.report.html import render_release_report, render_report
from pd.sweep.result import conclude
from pd.sweep.trial import draw_trials

pytestmark = pytest.mark.browser

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def pages(whole_data, report_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    audits = {"strict": whole_data.audit, "faces": report_data.audit}
    made = {
        "report": render_report(whole_data, folder / "report.html"),
        "before": render_report(report_data, folder / "before.html"),  # an audit of before the attacks on models
        "release": render_release_report("faces", whole_data.audit, whole_data.settings, folder / "release.html"),
        "compare": write_comparison(compare(audits), folder / "compare.html"),
        "sweep": searched(folder),
    }
    return {name: path.as_uri() for name, path in made.items()}


def searched(folder):
    """The page of a search of 40 trials."""
    settings = parse_settings({}, ["sweep.trials=40", "reid.networks=3", "sweep.prompt_k=[5]"])
    rows = []
    for number, trial in enumerate(draw_trials(settings)):
        kept = 0.2 + number / 50
        leak, useful = kept**2 / 3, 0.6 + kept / 5
        figures = {"kept": kept, "excess": leak, "excess_low": leak - 0.04, "excess_high": leak + 0.05, "coverage": 1 - leak}
        figures |= {"balance": 0.7, "attacker": "imagenet", "utility": useful, "utility_low": useful - 0.1}
        rows.append(
            {"number": number, "kind": "cheap", "steps": None, **asdict(trial), **figures, "utility_high": useful + 0.1}
        )
    return conclude(rows, settings, {"people": "attackers learned from some"}, folder / "sweep").folder / "sweep.html"


def look(browser, width, page):
    metrics = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get_log("performance")
    browser.get(page)
    return browser


@pytest.fixture(params=[1280, 390], ids=["desktop", "phone"])
def width(request):
    return request.param


@pytest.fixture
def opened(browser, width, pages):
    """The custodian's report, with every attack in it."""
    return look(browser, width, pages["report"])


@pytest.fixture(params=["report", "before", "release", "compare"])
def plotted(request, browser, width, pages):
    return look(browser, width, pages[request.param])


@pytest.fixture(params=["report", "before", "release", "compare", "sweep"])
def each(request, browser, width, pages):
    return look(browser, width, pages[request.param])


def test_a_picture_of_the_whole_page_shows_it_and_nothing_beside_it(each, width, tmp_path):
    assert each.execute_script("return document.scrollingElement.scrollWidth <= innerWidth")
    assert each.execute_script("return innerWidth") == width
    height = each.execute_script("return document.documentElement.scrollHeight")
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
    shot = each.execute_cdp_cmd("Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True})
    file = tmp_path / "page.png"
    file.write_bytes(base64.b64decode(shot["data"]))
    pixels = np.asarray(Image.open(file).convert("L"), np.float32)
    assert pixels.shape == (height, width)
    assert all(len(np.unique(part)) > 20 for part in np.array_split(pixels, 4))  # from top to bottom there is something
    busy = pixels.std(axis=1) > 1
    assert busy.mean() > 0.3
    assert max(sum(1 for _ in run) for there, run in itertools.groupby(busy) if not there) < 200  # no hole


def test_it_fits_and_says_nothing_is_wrong(each):
    width = each.execute_script("return document.documentElement.clientWidth")
    assert each.execute_script("return document.documentElement.scrollWidth") <= width
    assert each.get_log("browser") == []


def test_nothing_but_the_file_is_asked_for(each):
    events = [json.loads(entry["message"])["message"] for entry in each.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert any(url.startswith("file:") for url in asked)


def test_the_warning_is_the_first_thing_seen(opened):
    warning = opened.find_element(By.ID, "warning")
    assert warning.is_displayed()
    assert "private images of real people" in warning.text
    assert warning.rect["y"] == 0
    red, green, blue = opened.execute_script(
        "return getComputedStyle(arguments[0]).backgroundColor.match(/[0-9]+/g).slice(0, 3).map(Number)", warning
    )
    assert red > 2 * max(green, blue)


def test_every_image_is_there(opened):
    sizes = opened.execute_script("return [...document.images].map(i => [i.complete, i.naturalWidth, i.clientWidth])")
    assert len(sizes) == 66
    assert all(done and natural > 0 and shown > 30 for done, natural, shown in sizes)


def test_headings_go_down_one_level_at_a_time(each):
    levels = each.execute_script("return [...document.querySelectorAll('h1,h2,h3,h4')].map(h => +h.tagName[1])")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_tables_have_headers_and_captions(each):
    for table in each.find_elements(By.TAG_NAME, "table"):
        assert table.find_elements(By.CSS_SELECTOR, "thead th[scope=col]")
        assert table.find_elements(By.CSS_SELECTOR, "tbody th[scope=row]")
        assert table.find_elements(By.TAG_NAME, "caption")
    assert len(each.find_elements(By.CSS_SELECTOR, "td.number")) > 20


def test_one_plot_of_each_is_drawn_and_its_text_can_be_read(plotted):
    shown = [svg for svg in plotted.find_elements(By.CSS_SELECTOR, ".plot svg") if svg.is_displayed()]
    assert len(shown) == len(plotted.find_elements(By.CSS_SELECTOR, ".plot")) > 2
    heights = plotted.execute_script(
        "return arguments[0].flatMap(s => [...s.querySelectorAll('text')].map(t => t.getBoundingClientRect().height))",
        shown,
    )
    assert min(heights) >= 10
    # What shows on pointing must fit as well: it is laid out, though not yet visible.
    outside = "const p = arguments[0].getBoundingClientRect(); return [...arguments[0].querySelectorAll('text')].filter("
    outside += "t => {const b = t.getBoundingClientRect(); return b.left < p.left - 1 || b.right > p.right + 1 || b.bottom >"
    outside += " p.bottom + 1}).map(t => t.textContent)"
    assert [plotted.execute_script(outside, svg) for svg in shown] == [[]] * len(shown)


def test_pointing_at_a_plot_shows_its_figures(opened):
    shown = [svg for svg in opened.find_elements(By.CSS_SELECTOR, ".plot svg") if svg.is_displayed()]
    for svg in shown:
        spot = svg.find_elements(By.CSS_SELECTOR, ".hit")[0]
        opened.execute_script("arguments[0].scrollIntoView({block: 'center'})", spot)
        ActionChains(opened).move_to_element(spot.find_elements(By.CSS_SELECTOR, "rect, circle")[0]).perform()
        seen = "return [...document.querySelectorAll('.tip')].filter(t => getComputedStyle(t).visibility == 'visible')"
        assert opened.execute_script(seen) == [spot.find_element(By.CSS_SELECTOR, ".tip")], svg.get_attribute("aria-label")


def test_captions_are_read_without_scrolling_their_tables(each):
    beyond = "return [...document.querySelectorAll('caption')].filter(c => c.offsetParent && "
    beyond += "c.getBoundingClientRect().right > innerWidth).map(c => c.textContent)"
    assert each.execute_script(beyond) == []


def test_the_keyboard_shows_the_figures_of_rows_and_marks(opened):
    spots = [spot for spot in opened.find_elements(By.CSS_SELECTOR, ".plot .hit[tabindex]") if spot.is_displayed()]
    assert len(spots) > 20
    seen = "return [...document.querySelectorAll('.tip')].filter(t => getComputedStyle(t).visibility == 'visible')"
    opened.execute_script("arguments[0].focus()", spots[0])
    for spot in spots[:3]:
        assert opened.switch_to.active_element == spot
        assert opened.execute_script(seen) == [spot.find_element(By.CSS_SELECTOR, ".tip")]
        assert len(spot.get_attribute("aria-label")) > 5
        ActionChains(opened).send_keys(Keys.TAB).perform()


def test_the_keyboard_gets_everywhere(opened):
    opened.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    assert opened.switch_to.active_element.text == "Skip to the findings"
    stops = opened.execute_script("return [...document.querySelectorAll('.scroll')].every(s => s.tabIndex === 0)")
    assert stops
    broken = (
        "return [...document.querySelectorAll('a[href^=\"#\"]')].filter(a => !document.querySelector(a.hash)).map(a => a.hash)"
    )
    assert opened.execute_script(broken) == []


def test_parts_of_the_page_are_named_once(each):
    ids = each.execute_script("return [...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))
    nameless = "return [...document.querySelectorAll('section, nav, [role=region], .plot svg')].filter(e => !(e.ariaLabel ||"
    nameless += " document.getElementById(e.getAttribute('aria-labelledby'))?.textContent)).map(e => e.outerHTML.slice(0, 99))"
    assert each.execute_script(nameless) == []
    assert len(each.find_elements(By.TAG_NAME, "main")) == 1


def test_words_stand_out_from_their_ground_in_light_and_dark(opened):
    for scheme in ("light", "dark"):
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
        for name in ("--ink", "--soft", "--accent"):
            assert _contrast(opened, name, "--card") >= 4.5, (scheme, name)
            assert _contrast(opened, name, "--page") >= 4.5, (scheme, name)
        assert _contrast(opened, "--mark-ink", "--mark") >= 4.5
        assert _contrast(opened, "--alarm-ink", "--alarm") >= 4.5
        for name in ("--kept-ink", "--dropped-ink", "--alarm-text"):
            assert _contrast(opened, name, "--card") >= 4.5, (scheme, name)
        for name in ("--kept", "--dropped", "--stranger", "--hue-1", "--hue-2", "--hue-3", "--hue-4"):  # lines and dots
            assert _contrast(opened, name, "--card") >= 3, (scheme, name)


def test_print_shows_the_settings(opened):
    opened.execute_script("window.scrollTo(0, 0)")
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert opened.execute_script("return document.querySelector('#settings pre').getBoundingClientRect().height") > 100
    finally:
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def _contrast(driver, ink, ground):
    """WCAG 2 contrast of two custom properties."""
    script = "const s = document.createElement('i'); document.body.append(s); s.style.color = `var(${arguments[0]})`;"
    script += "const c = getComputedStyle(s).color.match(/[0-9]+/g).slice(0, 3).map(Number); s.remove(); return c"

    def luminance(name):
        parts = [value / 255 for value in driver.execute_script(script, name)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(ink), luminance(ground)), reverse=True)
    return (light + 0.05) / (dark + 0.05)
