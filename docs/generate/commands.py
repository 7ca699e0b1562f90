"""The help of every command, as the command itself shows it."""

from collections.abc import Mapping

from emailrelay.classic import help_text, services
from emailrelay.config import SERVICES
from emailrelay.config.flags import help_page as service_page
from emailrelay.configure import cli as configure
from emailrelay.notify import cli as notify
from emailrelay.oauth import cli as auth
from emailrelay.queue.errors import PROGRAM as QUEUE
from emailrelay.queue.parser import general_parser
from emailrelay.secrets import passwd
from emailrelay.setup import cli as setup
from emailrelay.store.postgres import cli as store
from emailrelay.submit import help_text as submit
from emailrelay.terminal.help_page import HelpPage
from emailrelay.terminal.typer_command import help_page as typer_page
from emailrelay_filterd.trial import cli as filter_test
from emailrelay_forwarder.doctor import cli as doctor


def all_help() -> Mapping[str, HelpPage]:
    """Return the help of each command by its name, in the order in which pages name them."""
    pages = [
        help_text.page(complete=True, available=services.available),
        *(service_page(service) for service in SERVICES),
        general_parser(QUEUE).page(),
        typer_page(store.app),
        submit.PAGE,
        notify.parser().page(),
        passwd.HELP_PAGE,
        typer_page(auth.app),
        typer_page(configure.app),
        doctor.parser().page(),
        filter_test.parser().page(),
        setup.parser().page(),
    ]
    return {page.program: page for page in pages}
