"""The notifier as a Dagster resource: which channels are on is read from the environment when it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

if TYPE_CHECKING:
    from velo_assets.notify import Notifier

_OFF = "0"


def _or_variable(configured: str, variable: str, default: str = "") -> str:
    # `dg.EnvVar` as a field default would fail while the variable is unset; off until configured means it may be unset.
    return configured or dg.EnvVar(variable).get_value(default) or default


class NotifierResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Log, mail and webhook; each is off until configured.

    A field left empty is read from its environment variable at the moment of telling, so that no secret is stored in
    configuration, in a run or in the UI. A deployment may give `dg.EnvVar(...)` for any of them instead.
    """

    log: str = Field(default="", description="1 writes to the log; empty means VELO_NOTIFY_LOG.")
    smtp_host: str = Field(default="", description="Mail server; empty means VELO_SMTP_HOST, and off without it.")
    smtp_port: str = Field(default="", description="Its port; empty means VELO_SMTP_PORT, else 587.")
    smtp_user: str = Field(default="", description="Login; empty means VELO_SMTP_USER.")
    smtp_password: str = Field(default="", description="Secret; empty means VELO_SMTP_PASSWORD.", repr=False)
    smtp_encryption: str = Field(default="", description="starttls, tls or none; empty means VELO_SMTP_ENCRYPTION.")
    mail_from: str = Field(default="", description="Sender; empty means VELO_MAIL_FROM.")
    mail_to: str = Field(default="", description="Recipients, parted by commas; empty means VELO_MAIL_TO.")
    webhook_url: str = Field(
        default="", description="Where to post, a secret; empty means VELO_WEBHOOK_URL, and off without it.", repr=False
    )

    def notifier(self) -> Notifier:
        """The plain domain object.

        Raises:
            ValueError: a channel is configured by half.
        """
        from velo_assets.notify import notifier

        port = _or_variable(self.smtp_port, "VELO_SMTP_PORT", "587")
        if not port.isdigit():
            raise ValueError(f"mail: the port is a number, got {port!r}; correct VELO_SMTP_PORT")
        return notifier(
            log=_or_variable(self.log, "VELO_NOTIFY_LOG", _OFF) != _OFF,
            smtp_host=_or_variable(self.smtp_host, "VELO_SMTP_HOST"),
            smtp_port=int(port),
            smtp_user=_or_variable(self.smtp_user, "VELO_SMTP_USER"),
            smtp_password=_or_variable(self.smtp_password, "VELO_SMTP_PASSWORD"),
            smtp_encryption=_or_variable(self.smtp_encryption, "VELO_SMTP_ENCRYPTION", "starttls"),
            mail_from=_or_variable(self.mail_from, "VELO_MAIL_FROM"),
            mail_to=_or_variable(self.mail_to, "VELO_MAIL_TO"),
            webhook_url=_or_variable(self.webhook_url, "VELO_WEBHOOK_URL"),
        )
