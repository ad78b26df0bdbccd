"""The report in Debian's chromium, at desktop and phone width."""

import itertools
import json
import shutil

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from pd.report.html import render_report

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
def page(report_data, tmp_path_factory):
    return render_report(report_data, tmp_path_factory.mktemp("report") / "report.html").as_uri()


@pytest.fixture(params=[1280, 390], ids=["desktop", "phone"])
def opened(request, browser, page):
    metrics = {"width": request.param, "height": 844, "deviceScaleFactor": 1, "mobile": request.param < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get_log("performance")
    browser.get(page)
    return browser


def test_it_fits_and_says_nothing_is_wrong(opened):
    width = opened.execute_script("return document.documentElement.clientWidth")
    assert opened.execute_script("return document.documentElement.scrollWidth") <= width
    assert opened.get_log("browser") == []


def test_nothing_but_the_file_is_asked_for(opened):
    events = [json.loads(entry["message"])["message"] for entry in opened.get_log("performance")]
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
    assert len(sizes) == 44
    assert all(done and natural > 0 and shown > 30 for done, natural, shown in sizes)


def test_headings_go_down_one_level_at_a_time(opened):
    levels = opened.execute_script("return [...document.querySelectorAll('h1,h2,h3,h4')].map(h => +h.tagName[1])")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_tables_have_headers_and_captions(opened):
    for table in opened.find_elements(By.TAG_NAME, "table"):
        assert table.find_elements(By.CSS_SELECTOR, "thead th[scope=col]")
        assert table.find_elements(By.CSS_SELECTOR, "tbody th[scope=row]")
        assert table.find_elements(By.TAG_NAME, "caption")
    assert len(opened.find_elements(By.CSS_SELECTOR, "#audit-table td.number")) > 20


def test_one_plot_of_each_is_drawn_and_its_text_can_be_read(opened):
    shown = [svg for svg in opened.find_elements(By.CSS_SELECTOR, ".plot svg") if svg.is_displayed()]
    assert len(shown) == 2
    heights = opened.execute_script(
        "return arguments[0].flatMap(s => [...s.querySelectorAll('text')].map(t => t.getBoundingClientRect().height))",
        shown,
    )
    assert min(heights) >= 10
    inside = "const p = arguments[0].getBoundingClientRect(); return [...arguments[0].querySelectorAll('text')].every("
    inside += "t => {const b = t.getBoundingClientRect(); return b.left >= p.left - 1 && b.right <= p.right + 1})"
    assert all(opened.execute_script(inside, svg) for svg in shown)


def test_the_keyboard_gets_everywhere(opened):
    opened.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    assert opened.switch_to.active_element.text == "Skip to the findings"
    stops = opened.execute_script("return [...document.querySelectorAll('.scroll')].every(s => s.tabIndex === 0)")
    assert stops


def test_words_stand_out_from_their_ground_in_light_and_dark(opened):
    for scheme in ("light", "dark"):
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
        for name in ("--ink", "--soft", "--accent"):
            assert _contrast(opened, name, "--card") >= 4.5, (scheme, name)
            assert _contrast(opened, name, "--page") >= 4.5, (scheme, name)
        assert _contrast(opened, "--mark-ink", "--mark") >= 4.5
        assert _contrast(opened, "--alarm-ink", "--alarm") >= 4.5
        for name in ("--kept", "--dropped"):
            assert _contrast(opened, f"{name}-ink", "--card") >= 4.5, (scheme, name)


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
