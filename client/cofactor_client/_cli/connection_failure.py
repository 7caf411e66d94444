"""Find out why a server cannot be called: nothing listens, plain text meets TLS, or a certificate is refused.

gRPC's own message names the last address that it tried and often hides the cause, so this connects once more.
"""

from __future__ import annotations

import socket
import ssl

from cofactor_client._channel import Tls, host_and_port

_TIMEOUT_S = 3.0
_NOT_TLS = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNEXPECTED_MESSAGE", "HTTP_REQUEST"}
_WRONG_NAME = {62, 64}  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH


def explain_failure(address: str, tls: Tls | None, message: str) -> str:
    """Say in one sentence why no call reached a server, and what to do. `message` is gRPC's own."""
    unreachable = (
        f"no server is reachable at {address}; start one with cofactor-serve, or choose another with --address"
    )
    server = host_and_port(address)
    if server is None:
        return unreachable
    try:
        connection = socket.create_connection(server, _TIMEOUT_S)
    except socket.gaierror:
        return f"the host {server[0]} is unknown; choose another server with --address"
    except OSError:
        return unreachable
    with connection:
        cause = _tls_failure(connection, tls, server[0]) if tls else _plain_text_failure(connection)
    return f"the server at {address} {cause or f'does not answer calls: {message}'}"


def _plain_text_failure(connection: socket.socket) -> str | None:
    """Return the cause if the server speaks TLS, None if it does not."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # only asks: nothing is sent after the handshake
    try:
        context.wrap_socket(connection).close()
    except OSError:  # ssl.SSLError is one
        return None
    return "speaks TLS; give --ca FILE with its authority, or --tls if a well-known authority issued its certificate"


def _tls_failure(connection: socket.socket, tls: Tls, host: str) -> str | None:
    """Return why the TLS handshake fails, None if it succeeds."""
    try:
        context = ssl.create_default_context(cafile=tls.ca)
        if tls.certificate:
            context.load_cert_chain(tls.certificate, tls.key)
    except (ssl.SSLError, OSError) as error:
        return f"was not called: --ca, or --cert with --key, is not usable as PEM ({error})"
    context.set_alpn_protocols(["h2"])
    name = tls.server_name or host
    try:
        with context.wrap_socket(connection, server_hostname=name) as secured:
            if _stays_open(secured):
                return None
            return f"closes the connection after the TLS handshake; {_certificate_advice(tls)}"
    except ssl.SSLCertVerificationError as error:
        if error.verify_code in _WRONG_NAME:
            return f"has a certificate for another name than {name}; use that name in --address, or give --server-name"
        trusted = f"the authorities in {tls.ca}" if tls.ca else "a well-known authority"
        return f"has a certificate that is not signed by {trusted} ({error.verify_message}); give its authority in --ca"
    except ssl.SSLError as error:
        if error.reason in _NOT_TLS:
            return "speaks plain text; leave out --tls and --ca (and COFACTOR_TLS_CA)"
        return f"fails the TLS handshake ({error.reason}); {_certificate_advice(tls)}"
    except OSError:
        return None


def _stays_open(secured: ssl.SSLSocket) -> bool:
    """Return False if the server closes the connection after the handshake.

    In TLS 1.3 the server judges the client's certificate after the client's part of the handshake has ended.
    """
    try:
        return secured.recv(1) != b""
    except TimeoutError:
        return True
    except OSError:  # an alert, or the connection is reset
        return False


def _certificate_advice(tls: Tls) -> str:
    if tls.certificate is None:
        return "if it requires a client's certificate, give --cert and --key"
    return "give a --cert that its authority has signed"
