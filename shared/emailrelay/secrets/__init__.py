"""The secrets file: the accounts of clients, and our own accounts at other servers."""

from emailrelay.secrets.accounts import (
    ClientAccount,
    ClientSecrets,
    Form,
    NoSuchAccount,
    ServerSecrets,
)
from emailrelay.secrets.auth_config import AuthConfig, Mechanism
from emailrelay.secrets.secret import Secret
from emailrelay.secrets.secrets_file import SecretsFile

__all__ = [
    "AuthConfig",
    "ClientAccount",
    "ClientSecrets",
    "Form",
    "Mechanism",
    "NoSuchAccount",
    "Secret",
    "SecretsFile",
    "ServerSecrets",
]
