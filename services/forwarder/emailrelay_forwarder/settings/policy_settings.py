"""The settings of sessions with servers, from the configuration."""

from emailrelay.config import ForwarderSettings
from emailrelay.config.security_values import DEFAULT_AUTHORITIES, NO_VERIFICATION
from emailrelay.config.values import left_out
from emailrelay.errors import ConfigError
from emailrelay.events.event import Report
from emailrelay.oauth.bearer import Bearer
from emailrelay.secrets import AuthConfig, SecretsFile
from emailrelay_forwarder.session.greeting_timeout import GreetingTimeout
from emailrelay_forwarder.session.policy import Mode, Policy, Tls, Version, settled
from emailrelay_forwarder.session.session_settings import SessionSettings
from emailrelay_forwarder.session.tls import context_for
from emailrelay_forwarder.settings.account_lookup import AccountLookup, problems_of

_REPLY, _VERDICT = 300.0, 600.0  # RFC 5321 4.5.3.2
_FIRST_GREETING, _LONGEST_GREETING = 20.0, 300.0  # RFC 5321 4.5.3.2.1


def sessions_of(settings: ForwarderSettings, report: Report, bearer: Bearer) -> SessionSettings:
    """Return the settings of sessions.

    Raises:
        ConfigError: the secrets file cannot be used.

    """
    return SessionSettings(
        connect=settings.connection_timeout,
        greeting=patience_of(settings),
        reply=settings.response_timeout or _REPLY,
        verdict=settings.response_timeout or _VERDICT,
        domain=settings.domain,
        local_address=settings.client_interface,
        policy=policy_of(settings),
        accounts=AccountLookup(settings, bearer, report),
        without=left_out(settings.client_smtp_config),
        report=report,
        dialogue=report if settings.verbose or settings.debug else None,
    )


def patience_of(settings: ForwarderSettings) -> GreetingTimeout:
    """Return the limit for greetings: a configured one takes precedence.

    A single pass makes one try, so it uses the longest limit at once.
    """
    if settings.prompt_timeout is not None:
        return GreetingTimeout(settings.prompt_timeout, settings.prompt_timeout)
    return GreetingTimeout(
        _LONGEST_GREETING if settings.once else _FIRST_GREETING, _LONGEST_GREETING
    )


def policy_of(settings: ForwarderSettings) -> Policy:
    """Return the policy in the settings."""
    return Policy(
        tls=_tls(settings),
        in_clear=settings.client_auth_in_clear,
        auth=AuthConfig.parse(settings.client_auth_config),
    )


def check_files(settings: ForwarderSettings) -> None:
    """Read the files with certificates and secrets that the settings name.

    Raises:
        ConfigError: with every problem.

    """
    problems: list[str] = []
    policy = policy_of(settings)
    try:
        context_for(settled(policy, signs_in=True), compare=True)
    except ConfigError as error:
        problems += error.of_setting("client_tls_verify or client_tls_certificate")
    try:
        if settings.client_auth is not None:
            SecretsFile(settings.client_auth)
    except ConfigError as error:
        problems += error.of_setting("client_auth")
    problems += problems_of(settings)
    if problems:
        raise ConfigError(problems)


def _tls(settings: ForwarderSettings) -> Tls:
    verify = settings.client_tls_verify
    words = settings.tls_config
    return Tls(
        mode=_mode(settings),
        verify=None if verify is None else verify != NO_VERIFICATION,
        authorities=None if verify in {None, DEFAULT_AUTHORITIES, NO_VERIFICATION} else verify,
        verify_name=settings.client_tls_verify_name,
        server_name=settings.client_tls_server_name,
        certificate=tuple(str(path) for path in settings.client_tls_certificate),
        least=Version.TLS_1_3 if "tlsv1.3" in words else Version.TLS_1_2,
        most=Version.TLS_1_2 if "-tlsv1.2" in words else Version.TLS_1_3,
    )


def _mode(settings: ForwarderSettings) -> Mode | None:
    if settings.client_tls is False:
        return Mode.OFF
    if settings.client_tls_connection:
        return Mode.IMPLICIT
    return Mode.REQUIRED if settings.client_tls_required else None
