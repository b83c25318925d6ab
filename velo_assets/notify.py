"""Telling someone: a message to the log, by mail, or to a webhook.

Belongs here: the channels and how each is spoken to. Does not belong here: what is worth telling (monitoring), and
secrets, which are passed in and never shown.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.client import HTTPException
from typing import Protocol
from urllib.parse import urlsplit

LOGGER = logging.getLogger("velo.notify")

TIMEOUT_SECONDS = 20.0
"""A mail server that doesn't answer must not hold up the night."""


@dataclass(frozen=True)
class Message:
    """What is told.

    Attributes:
        title: one line, such as "VELO: CUSUM alarm".
        text: the rest, plain text.
        urgent: an alarm or a failure; otherwise a report.
    """

    title: str
    text: str
    urgent: bool = False


class Channel(Protocol):
    """A way to tell someone."""

    def send(self, message: Message) -> None:
        """Tell it, or raise."""


@dataclass(frozen=True)
class LogChannel:
    """Writes to the log `velo.notify`."""

    def send(self, message: Message) -> None:
        """Log the message, urgent ones as warnings."""
        LOGGER.log(logging.WARNING if message.urgent else logging.INFO, "%s\n%s", message.title, message.text)


@dataclass(frozen=True)
class MailChannel:
    """Sends mail through an SMTP server.

    Attributes:
        host: of the server.
        port: 587 for STARTTLS, 465 for TLS from the start, 25 for none.
        sender: address.
        recipients: addresses.
        user: login; no login when empty.
        password: secret, never shown.
        encryption: `starttls`, `tls` or `none`.
    """

    host: str
    port: int
    sender: str
    recipients: tuple[str, ...]
    user: str = ""
    password: str = field(default="", repr=False)
    encryption: str = "starttls"

    def __post_init__(self) -> None:
        if self.encryption not in ("starttls", "tls", "none"):
            raise ValueError(f"mail: encryption is starttls, tls or none, not {self.encryption!r}")
        if not self.recipients:
            raise ValueError("mail: give at least one recipient")
        if self.user and self.encryption == "none":
            raise ValueError("mail: a password is not sent over a line without encryption; use starttls or tls")

    def send(self, message: Message) -> None:
        """Send one mail.

        Raises:
            OSError: the server can't be reached or refuses.
        """
        import smtplib
        import ssl

        mail = EmailMessage()
        # A line break in a subject would start a header of the sender's choosing.
        mail["Subject"] = " ".join(message.title.split())
        mail["From"], mail["To"] = self.sender, ", ".join(self.recipients)
        if message.urgent:
            mail["Importance"] = "high"
        mail.set_content(message.text)
        context = ssl.create_default_context()
        server: smtplib.SMTP
        if self.encryption == "tls":
            server = smtplib.SMTP_SSL(self.host, self.port, timeout=TIMEOUT_SECONDS, context=context)
        else:
            server = smtplib.SMTP(self.host, self.port, timeout=TIMEOUT_SECONDS)
        with server:
            if self.encryption == "starttls":
                server.starttls(context=context)
            if self.user:
                server.login(self.user, self.password)
            server.send_message(mail)


@dataclass(frozen=True)
class WebhookChannel:
    """Posts JSON `{"title", "text", "urgent"}`, with `text` as chat services show it.

    Attributes:
        url: http(s) address; it may hold a secret token and is never shown whole.
    """

    url: str = field(repr=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("webhook: the address must start with http:// or https:// and name a host")

    def send(self, message: Message) -> None:
        """Post one message.

        Raises:
            OSError: the host can't be reached or answers with an error.
            HTTPException: what answers speaks no HTTP.
        """
        from urllib.request import Request, urlopen

        body = {"title": message.title, "text": f"{message.title}\n{message.text}", "urgent": message.urgent}
        request = Request(
            self.url, data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}, method="POST"
        )
        with urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            answer.read()


@dataclass(frozen=True)
class Notifier:
    """All channels that are configured; with none it says nothing.

    Attributes:
        channels: in the order they are tried.
    """

    channels: Sequence[Channel] = ()

    def tell(self, message: Message) -> list[str]:
        """Send a message by every channel; one that fails does not stop the others, nor the run that has news.

        Args:
            message: what is told.

        Returns:
            What went wrong, a line per failed channel, without secrets; also logged.
        """
        failures = []
        for channel in self.channels:
            try:
                channel.send(message)
            except (OSError, HTTPException) as error:
                # smtplib's and urllib's errors are OSErrors, those of an answer that is no HTTP are not; the text of
                # either may hold the address with its token.
                reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
                failures.append(f"{type(channel).__name__}: {reason}")
                LOGGER.error("%s could not be told: %s", message.title, failures[-1])
        return failures


def notifier(
    *,
    log: bool = False,
    smtp_host: str = "",
    smtp_port: int = 587,
    smtp_user: str = "",
    smtp_password: str = "",
    smtp_encryption: str = "starttls",
    mail_from: str = "",
    mail_to: str = "",
    webhook_url: str = "",
) -> Notifier:
    """The notifier of a configuration; whatever is left empty is off.

    Args:
        log: write to the log.
        smtp_host: mail server; mail is off when empty.
        smtp_port: its port.
        smtp_user: login.
        smtp_password: secret.
        smtp_encryption: starttls, tls or none.
        mail_from: sender.
        mail_to: recipients, parted by commas.
        webhook_url: where to post; off when empty.

    Raises:
        ValueError: a channel is configured by half.
    """
    channels: list[Channel] = [LogChannel()] if log else []
    if smtp_host:
        recipients = tuple(address.strip() for address in mail_to.split(",") if address.strip())
        if not mail_from or not recipients:
            raise ValueError("mail: a server is given, but no sender or recipient; set both, or neither")
        channels.append(
            MailChannel(smtp_host, smtp_port, mail_from, recipients, smtp_user, smtp_password, smtp_encryption)
        )
    if webhook_url:
        channels.append(WebhookChannel(webhook_url))
    return Notifier(tuple(channels))
