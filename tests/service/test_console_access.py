"""Access to the console: closed by default, for its users only, and by their roles."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.routing import Route
from tests.acceptance.relay import until
from tests.service.console_browser import USERS, Browser, RunningConsole, running

import emailrelay_console.pages
from emailrelay_console.web.security_headers import POLICY


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningConsole]:
    directory = tmp_path_factory.mktemp("console")
    with running(f"spool://{directory}/spool", directory) as started:
        yield started


def all_routes() -> list[Route]:
    """The routes of all modules in ``pages``."""
    modules = Path(emailrelay_console.pages.__file__).parent.glob("[!_]*.py")
    names = [f"emailrelay_console.pages.{path.stem}" for path in modules]
    loaded = [__import__(name, fromlist=["ROUTES"]) for name in names]
    return [route for module in loaded for route in module.ROUTES if isinstance(route, Route)]


def example(route: Route) -> str:
    return re.sub(r"{[^}]*}", "1", route.path)


OPEN = {"/sign-in"}
ROUTES = all_routes()
FORMS = [route for route in ROUTES if "POST" in (route.methods or ())]
READ = [route for route in ROUTES if "GET" in (route.methods or ())]


@pytest.mark.parametrize(
    "path", sorted({example(route) for route in READ} - OPEN | {"/", "/nothing"})
)
def test_without_a_session_each_page_leads_to_the_sign_in(
    console: RunningConsole, path: str
) -> None:
    page = console.browser().get(f"{path}?x=1")
    assert (page.status, page.headers["location"]) == (303, f"/sign-in?next={path}%3Fx%3D1")


@pytest.mark.parametrize("path", sorted({example(route) for route in FORMS} - OPEN))
def test_a_form_needs_session_role_token_and_our_page(console: RunningConsole, path: str) -> None:
    nothing = console.browser().post(path)
    assert (nothing.status, "Sign in again" in nothing.words) == (401, True)
    operator = console.browser("ann")
    assert operator.post(path, form_token="x").status == 403
    assert operator.post(path, form_token=console.browser("ann").token).status == 403
    assert operator.post(path, headers={"Origin": "http://evil.test"}).status == 403
    assert operator.post(path, headers={"Sec-Fetch-Site": "cross-site"}).status == 403
    if path != "/sign-out":
        viewer = console.browser("vic").post(path)
        assert (viewer.status, "only operators" in viewer.words) == (403, True)


def test_each_answer_forbids_scripts_and_frames_of_others(console: RunningConsole) -> None:
    for page in (console.browser().get("/sign-in"), console.browser("ann").get("/queue")):
        assert page.headers["content-security-policy"] == POLICY
        assert page.headers["x-frame-options"] == "DENY"
        assert page.headers["cache-control"] == "no-store"
        assert not re.search(r"<script>|style=|<style|\son[a-z]+=|javascript:", page.text)


def test_the_cookie_is_not_for_scripts_nor_other_sites(console: RunningConsole) -> None:
    page = console.browser().sign_in()
    assert "HttpOnly" in page.headers["set-cookie"]
    assert "SameSite=strict" in page.headers["set-cookie"]


@pytest.mark.parametrize(
    ("name", "password"),
    [("ann", "wrong"), ("nobody", "secret"), ("smtp", "secret"), ("api", "key"), ("", "")],
)
def test_others_do_not_get_in(console: RunningConsole, name: str, password: str) -> None:
    browser = Browser(console.port)
    page = browser.sign_in(name, password)
    assert (page.status, "Name or password is wrong" in page.words) == (401, True)
    assert not browser.cookies
    assert console.events("console_login_failed")[-1]["user"] == name


def test_after_signing_out_the_cookie_is_worthless(console: RunningConsole) -> None:
    browser = console.browser("ann")
    kept = dict(browser.cookies)
    assert browser.post("/sign-out").status == 303
    browser.cookies = kept
    assert browser.get("/queue").status == 303


@pytest.mark.parametrize("target", ["//evil.test", "/\\evil.test", "http://evil.test", "/a\nb"])
def test_the_sign_in_leads_to_no_other_site(console: RunningConsole, target: str) -> None:
    page = console.browser().post("/sign-in", name="ann", password="secret", next=target)
    assert page.headers["location"] == "/"


def test_a_change_of_the_users_ends_all_sessions(console: RunningConsole) -> None:
    browser = console.browser("ann")
    console.auth.write_text(f"# changed\n{USERS}")
    assert browser.get("/queue").status == 303
    assert console.browser("ann").get("/queue").status == 200


def test_after_a_wrong_change_of_the_users_nobody_gets_in_until_it_is_mended(
    console: RunningConsole,
) -> None:
    browser, token = console.browser("ann"), {"Authorization": "Bearer api.key"}
    assert Browser(console.port).get("/api/v1/queue", **token).status == 200
    console.auth.write_text("server plain ann\n")
    assert browser.get("/queue").status == 303
    for page in (
        Browser(console.port).sign_in(),
        Browser(console.port).get("/api/v1/queue", **token),
    ):
        assert (page.status, "Nobody can sign in now" in page.words) == (503, True)
    assert len(console.events("secrets_trouble")) == 1
    console.auth.write_text(USERS)
    assert console.browser("ann").get("/queue").status == 200
    assert Browser(console.port).get("/api/v1/queue", **token).status == 200


def test_the_field_host_opens_no_page(console: RunningConsole) -> None:
    page = Browser(console.port).get("/queue?by=sender", Host="x/static/style.css?")
    assert page.status == 303


def test_guesses_are_slowed_down_and_the_user_still_gets_in(console: RunningConsole) -> None:
    console.browser("ann")  # this name has signed in from here before
    statuses = [Browser(console.port).sign_in("vera", str(n)).status for n in range(20)]
    assert {401, 429} == set(statuses)
    assert console.browser("ann").get("/queue").status == 200
    # The places of guesses get free again.
    until(lambda: Browser(console.port).sign_in("vera", "x").status == 401, "a place is free")


def test_large_and_strange_requests_get_a_page(console: RunningConsole) -> None:
    browser = console.browser("ann")
    assert browser.post("/queue/change", id="x" * 300_000).status == 413
    assert browser.post("/queue/change", [("id", "1")] * 3000).status == 400
    assert browser.get("/queue?page=0").status == 400
    assert browser.get("/queue?state=x").words.count("state must be one of") == 1
    assert browser.ask("PATCH", "/queue").status == 405
    assert browser.get("/../../etc/passwd").status == 404
    assert browser.get("/static/../app.py").status == 404
    assert browser.get("/static/nothing.js").status == 404
    browser.cookies = {"emailrelay": "\xff\xfe"}
    assert browser.get("/queue").status == 303
    assert not console.events("internal_error")
    assert not console.events("traceback")
