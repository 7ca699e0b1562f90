"""A real chromium, driven by its chromedriver, that looks at a console."""

import json
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.acceptance.relay import until

SCREENSHOTS = os.environ.get("CONSOLE_SCREENSHOTS", "")
"""The directory for the pictures of ``docs/console.md``; empty: none are made."""
HANG = 60.0
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--hide-scrollbars",
    "--no-first-run",
)
_AXE = """
const done = arguments[arguments.length - 1];
axe.run(document, {iframes: false, resultTypes: ["violations"]}).then(
  found => done(found.violations.filter(each => ["serious", "critical"].includes(each.impact)).map(
    each => each.id + ": " + each.nodes.map(node => node.html).join(" | "))),
  error => done(["axe: " + error]));
"""
_HERE = "const here = document.activeElement; return [here.textContent.trim(), here.name]"


class Look(NamedTuple):
    """A window and a theme."""

    width: int
    scheme: str


NARROW, WIDE = Look(360, "dark"), Look(2560, "light")


class Chromium:
    """A window. Pages are named by their paths."""

    def __init__(self, driver: Any, address: str, axe: str) -> None:
        self.driver, self.address, self._axe = driver, address, axe

    def open(self, path: str) -> None:
        self.driver.get(f"{self.address}{path}")

    def look(self, look: Look, height: int = 900) -> None:
        """Change the size of the window, and the theme that its user wants."""
        size = {"width": look.width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._do("Emulation.setDeviceMetricsOverride", size)
        wanted = {"name": "prefers-color-scheme", "value": look.scheme}
        self._do("Emulation.setEmulatedMedia", {"features": [wanted]})

    def scripts(self, *, allowed: bool) -> None:
        self._do("Emulation.setScriptExecutionDisabled", {"value": not allowed})

    def _do(self, command: str, values: dict[str, Any]) -> None:
        self.driver.execute_cdp_cmd(command, values)

    @property
    def words(self) -> str:
        """The text that a reader sees, with single blanks."""
        # One call: between two calls another page may have come.
        text: str = self.driver.execute_script("return document.body?.innerText ?? ''")
        return " ".join(text.split())

    @property
    def path(self) -> str:
        url: str = self.driver.current_url
        return url.removeprefix(self.address)

    def find(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def all(self, selector: str) -> list[Any]:
        found: list[Any] = self.driver.find_elements("css selector", selector)
        return found

    def keys(self, *keys: str) -> None:
        """Press keys: texts, or names such as ``TAB`` and ``SHIFT``."""
        from selenium.webdriver import ActionChains, Keys  # noqa: PLC0415 - the browser is there

        chain = ActionChains(self.driver)
        for key in keys:
            chain.send_keys(getattr(Keys, key, key))
        chain.perform()

    @property
    def focused(self) -> Any:
        return self.driver.switch_to.active_element

    def tab_to(self, text: str) -> None:
        """Press TAB until the focus is on the control of this text or name."""
        for _ in range(100):
            self.keys("TAB")
            if text in self.driver.execute_script(_HERE):
                return
        raise AssertionError(f"TAB never gets to {text}")

    def until_words(self, words: str) -> None:
        until(lambda: words in self.words, f"the page has: {words}", HANG)

    def complaints(self) -> list[str]:
        """What the console of the browser told since the last call, such as violations of CSP."""
        return [each["message"] for each in self.driver.get_log("browser")]

    def barriers(self) -> list[str]:
        """What axe-core finds that keeps people from using the page."""
        self.driver.execute_script(self._axe)
        found: list[str] = self.driver.execute_async_script(_AXE)
        return found

    def overflow(self) -> int:
        """The pixels by which the page is wider than its window."""
        script = "const d = document.documentElement; return d.scrollWidth - d.clientWidth"
        pixels: int = self.driver.execute_script(script)
        return pixels

    def picture(self, name: str) -> None:
        """Keep a picture for the docs, if that is wanted."""
        if SCREENSHOTS:
            self.driver.save_screenshot(str(Path(SCREENSHOTS) / f"{name}.png"))


@contextmanager
def chromium(directory: Path, address: str) -> Generator[Chromium]:
    """Run a browser, or skip the test that asks for it. Its files are in ``directory``."""
    webdriver = pytest.importorskip("selenium.webdriver")
    axe = pytest.importorskip("axe_core_python")
    programs = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    if missing := [name for name, path in programs.items() if path is None]:
        pytest.skip(f"needs {' and '.join(missing)}: make peers")
    options = webdriver.ChromeOptions()
    options.binary_location = programs["chromium"]
    for flag in (*_FLAGS, f"--user-data-dir={directory / 'chromium'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    wanted = {"download.default_directory": str(directory), "download.prompt_for_download": False}
    options.add_experimental_option("prefs", wanted)
    service = webdriver.ChromeService(
        executable_path=programs["chromedriver"], log_output=str(directory / "chromedriver.log")
    )
    driver = webdriver.Chrome(options, service)
    try:
        driver.set_script_timeout(HANG)
        driver.set_page_load_timeout(HANG)
        source = (Path(axe.__file__).parent / "axe.min.js").read_text()
        yield Chromium(driver, address, source)
    finally:
        driver.quit()


def quoted(value: str) -> str:
    """A text for a selector."""
    return json.dumps(value)
