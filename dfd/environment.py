"""Environment variables that are nobody's business who reads strangers' files."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_SECRET_NAME = re.compile(
    r"(^|_)(API_?KEYS?|KEYS?|SECRETS?|TOKENS?|PASS|PASSWD|PASSWORDS?|PASSPHRASE|PWD|CREDENTIALS?|COOKIES?|DSN|AUTH)(_|$)"
    r"|DATABASE_URL|CONNECTION_STRING|^(AWS|AZURE|GOOGLE|GCP|GITHUB|GITLAB|SMTP|PG|MYSQL|REDIS)_"
)
_SECRET_VALUE = re.compile(r"^[a-z][a-z0-9+.-]*://[^/@\\s]+:[^/@\\s]+@", re.IGNORECASE)
_NO_SECRETS = frozenset({"PWD", "OLDPWD", "SSH_AUTH_SOCK"})


def secret_names(environment: Mapping[str, str]) -> list[str]:
    """Variables whose name or value says that they open something: keys, tokens, passwords, addresses with them.

    >>> secret_names({"WANDB_API_KEY": "1", "PWD": "/tmp", "URL": "postgres://dfd:x@db/dfd", "LANG": "C"})
    ['WANDB_API_KEY', 'URL']
    """
    return [
        name
        for name, value in environment.items()
        if name not in _NO_SECRETS
        and not name.lower().endswith("_proxy")  # without which weights could not be fetched
        and (_SECRET_NAME.search(name.upper()) or _SECRET_VALUE.match(value))
    ]


@contextmanager
def without_secrets() -> Iterator[None]:
    """What is started meanwhile inherits no secrets; ``os.environ`` here keeps them."""
    hidden = {name: os.environ[name] for name in secret_names(os.environ)}
    for name in hidden:
        os.unsetenv(name)
    try:
        yield
    finally:
        for name, value in hidden.items():
            os.putenv(name, value)
