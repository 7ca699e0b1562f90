"""The help of every command, as the command itself shows it."""

from collections.abc import Mapping

from emailrelay.classic import help_text, services
from emailrelay.config import SERVICES
from emailrelay.config.flags import help_page as service_page
from emailrelay.configure.cli import CONFIG
from emailrelay.notify import cli as notify
from emailrelay.oauth.cli import AUTH
from emailrelay.queue.parser import QUEUE
from emailrelay.secrets import passwd
from emailrelay.setup import cli as setup
from emailrelay.store.postgres.cli import STORE
from emailrelay.submit import help_text as submit
from emailrelay.terminal.help_page import HelpPage
from emailrelay_filterd.trial import cli as filter_test
from emailrelay_forwarder.doctor import cli as doctor


def all_help() -> Mapping[str, HelpPage]:
    """Return the help of each command by its name, in the order in which pages name them."""
    pages = [
        help_text.page(complete=True, available=services.available),
        *(service_page(service) for service in SERVICES),
        QUEUE.parser().page(),
        STORE.parser().page(),
        submit.PAGE,
        notify.parser().page(),
        passwd.parser().page(),
        AUTH.parser().page(),
        CONFIG.parser().page(),
        doctor.parser().page(),
        filter_test.parser().page(),
        setup.parser().page(),
    ]
    return {page.program: page for page in pages}
