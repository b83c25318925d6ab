import logging
import socketserver
import threading
from collections.abc import Iterator

import pytest

from velo_assets.notify import MailChannel, Message, Notifier, WebhookChannel, notifier
from velo_assets_tests.conftest import Webhook

ALARM = Message("VELO: CUSUM alarm", "The recipe is worse than usual.\nRaces: 280", urgent=True)


@pytest.fixture
def mail_server() -> Iterator[tuple[int, list[str]]]:
    """A mail server that takes anything, speaking just enough SMTP."""
    received: list[str] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 test\r\n")
            while line := self.rfile.readline():
                verb = line[:4].upper()
                if verb == b"DATA":
                    self.wfile.write(b"354 go on\r\n")
                    mail = b""
                    while (part := self.rfile.readline()) != b".\r\n":
                        mail += part
                    received.append(mail.decode())
                self.wfile.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 ok\r\n")
                if verb == b"QUIT":
                    return

    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1], received
        server.shutdown()
        thread.join()


def test_nothing_configured_says_nothing() -> None:
    assert notifier() == Notifier()
    assert notifier().tell(ALARM) == []


def test_the_log_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="velo.notify"):
        assert notifier(log=True).tell(ALARM) == []
    assert caplog.records[0].levelname == "WARNING"
    assert "CUSUM alarm" in caplog.text


def test_a_webhook_gets_json(webhook: Webhook) -> None:
    url, received = webhook.url, webhook.received
    assert notifier(webhook_url=url).tell(ALARM) == []
    assert received == [{"title": ALARM.title, "text": f"{ALARM.title}\n{ALARM.text}", "urgent": True}]


def test_a_mail_is_sent_and_a_title_with_a_line_break_adds_no_header(mail_server: tuple[int, list[str]]) -> None:
    port, received = mail_server
    sender = notifier(
        smtp_host="127.0.0.1",
        smtp_port=port,
        smtp_encryption="none",
        mail_from="velo@example.org",
        mail_to="a@example.org, b@example.org",
    )
    assert sender.tell(Message("Week\nBcc: thief@example.org", "All quiet.")) == []
    (mail,) = received
    assert "To: a@example.org, b@example.org" in mail
    assert "Subject: Week Bcc: thief@example.org" in mail
    assert "\nBcc:" not in mail


def test_one_failing_channel_does_not_stop_the_others(webhook: Webhook, caplog: pytest.LogCaptureFixture) -> None:
    url, received = webhook.url, webhook.received
    secret = WebhookChannel(f"{url}/broken?token=hush")
    closed = WebhookChannel("http://127.0.0.1:9/?token=hush")
    with caplog.at_level(logging.ERROR, logger="velo.notify"):
        failures = Notifier((closed, secret, WebhookChannel(url))).tell(ALARM)
    assert len(failures) == 2
    assert len(received) == 2
    assert "hush" not in caplog.text + "".join(failures)


def test_a_webhook_that_speaks_no_http_is_one_failing_channel(mail_server: tuple[int, list[str]]) -> None:
    (failure,) = notifier(webhook_url=f"http://127.0.0.1:{mail_server[0]}/?token=hush").tell(ALARM)
    assert failure == "WebhookChannel: BadStatusLine"


def test_secrets_are_not_shown() -> None:
    mail = MailChannel("mail.example.org", 587, "a@example.org", ("b@example.org",), "user", "hush")
    assert "hush" not in repr(mail) + repr(WebhookChannel("https://example.org/hush"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"smtp_host": "mail.example.org"}, "sender or recipient"),
        ({"webhook_url": "ftp://example.org"}, "http"),
        ({"smtp_host": "m", "mail_from": "a@b", "mail_to": "c@d", "smtp_encryption": "maybe"}, "starttls"),
        (
            {"smtp_host": "m", "mail_from": "a@b", "mail_to": "c@d", "smtp_user": "u", "smtp_encryption": "none"},
            "without encryption",
        ),
    ],
)
def test_half_a_configuration_is_refused(settings: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        notifier(**settings)  # type: ignore[arg-type]
