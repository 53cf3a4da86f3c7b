"""A real browser for the pages: Debian's chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@contextmanager
def started() -> Iterator[Any]:
    """A headless browser with a profile of its own. Without one the test is skipped; but not in CI, which has one."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        program = None
    if program is None:
        reason = "no chromium or no playwright was found (apt-get install chromium; pip install -e '.[dev]')"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*ARGUMENTS])
        yield browser
        browser.close()


@contextmanager
def opened(browser: Any, file: Path, **options: Any) -> Iterator[Any]:
    """A page from a file, in a window of its own. In the end it must have asked for nothing but files and its own data,
    and must have had no error.
    """
    context = browser.new_context(**{"viewport": {"width": 1240, "height": 900}, **options})
    page = context.new_page()
    page.set_default_timeout(20_000)
    asked: list[str] = []
    faults: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("dialog", lambda dialog: faults.append(f"dialog: {dialog.message}"))
    page.goto("file://" + _quoted(file.resolve()))
    yield page
    context.close()
    assert not faults
    assert {url.partition(":")[0] for url in asked} <= {"file", "blob", "data"}, asked


def until(page: Any, expression: str) -> None:
    """Wait until an expression is true. Playwright's own wait would need `eval`, which the pages forbid."""
    for _ in range(600):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(30)
    raise AssertionError(f"this never became true: {expression}")


def _quoted(path: Path) -> str:
    from urllib.parse import quote

    return quote(os.fsencode(path))
