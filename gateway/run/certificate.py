"""Shell: the certificate that clients see, read from its files."""

import ssl

from gateway.config import ServerSettings
from gateway.errors import ConfigError


def load(server: ServerSettings) -> ssl.SSLContext | None:
    """The TLS context of the listener; None without TLS. Raises `ConfigError` for an unusable certificate."""
    if server.tls_cert_file is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(server.tls_cert_file, server.tls_key_file)
    except OSError as error:  # `ssl.SSLError` is an `OSError`
        reason = error.strerror or str(error)
        raise ConfigError([f"server.tls_cert_file: cannot use {server.tls_cert_file}: {reason}"]) from None
    return context


def renew(tls: ssl.SSLContext, server: ServerSettings) -> None:
    """Read the certificate again, for connections from now on. Raises `ConfigError`.

    A certificate with another kind of key (EC, RSA) stands beside the old one in OpenSSL's context, and some clients
    would still get the old one: it needs a restart.
    """
    load(server)  # the files are tried in a new context first, so that half a pair never gets into `tls`
    assert server.tls_cert_file is not None
    tls.load_cert_chain(server.tls_cert_file, server.tls_key_file)
