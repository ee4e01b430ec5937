"""PostgreSQL's password: read where the configuration says, and again once the server refuses it."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from sqlalchemy import URL, Engine, make_url, text
from structlog.testing import capture_logs

from db.connection import aws_passwords
from db.connection.migrate import upgrade
from db.connection.passwords import PasswordRefusedError, PasswordUnreadableError, in_file
from db.connection.session import FindPasswords, connect, reading, without_password
from tests.support.processes.ticking import Measuring, ticking
from tests.support.processes.waiting import wait_until
from tests.support.records.cycles import n_evaluated
from tests.support.servers.postgres import Stoppable, stoppable

SECRET = "s3cret-of-the-test"  # noqa: S105 - of a user of this test
WRONG = "wr0ng"


@pytest.fixture(scope="module")
def server() -> Iterator[Stoppable]:
    with stoppable(tcp=True) as found:
        upgrade(found.url.render_as_string(hide_password=False))
        found.execute("CREATE ROLE app LOGIN")
        found.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO app")
        found.execute("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO app")
        yield found


@pytest.fixture
def url(server: Stoppable) -> URL:
    rotate(server, SECRET)
    return URL.create("postgresql", "app", host="127.0.0.1", port=server.port, database="postgres")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(f"{SECRET}\n")
    return path


@pytest.fixture
def aws(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS on this machine; boto3 finds it by the environment, as in production."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDTEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")


def rotate(server: Stoppable, password: str) -> None:
    server.execute(f"ALTER ROLE app PASSWORD '{password}'")


def engine_of(url: URL, passwords: FindPasswords | None = None) -> Engine:
    return connect(url.render_as_string(hide_password=False), passwords=passwords)


def ask(engine: Engine) -> None:
    with reading(engine) as connection:
        connection.execute(text("SELECT 1"))


def test_a_password_in_a_file_opens_the_database(url: URL, file: Path) -> None:
    engine = engine_of(url, lambda _url, shown: in_file(shown, file))
    ask(engine)
    engine.dispose()


def test_a_running_daemon_takes_the_new_password_from_the_file(
    server: Stoppable, url: URL, file: Path, request: pytest.FixtureRequest
) -> None:
    """It is refused until the file has it, and says so; connections that exist go on."""
    engine = engine_of(url, lambda _url, shown: in_file(shown, file))
    request.addfinalizer(engine.dispose)
    with capture_logs() as logs, ticking(engine, Measuring(lambda: None)):
        wait_until(lambda: n_evaluated(engine) >= 1, "a cycle", timeout=30)
        with reading(engine) as old:
            assert old.scalar(text("SELECT 1")) == 1
            rotate(server, "another")
            server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle'")
            wait_until(lambda: is_refused(logs), "the refusal", timeout=20)
            assert old.scalar(text("SELECT 1")) == 1
        file.write_text("another")
        so_far = newest(logs)
        # A connection that was ended between a claim and its verdict leaves a lease, which lasts a minute.
        wait_until(lambda: newest(logs) > so_far, "a cycle with the new password", timeout=90)
    refusal = next(each["error"] for each in logs if each["event"] == "database away")
    assert refusal == (
        f"The database {without_password(url)} refused the password from [database] password_file, {file} "
        '(password authentication failed for user "app"): write the user\'s current password to that file; '
        "no restart is needed."
    )
    assert not {SECRET, "another"} & set(json.dumps(logs, default=str).split())


def is_refused(logs: Sequence[Mapping[str, object]]) -> bool:
    return any(each["event"] == "database away" for each in logs)


def newest(logs: Sequence[Mapping[str, object]]) -> int:
    return sum(each["event"] == "cycle ended" for each in logs)


@pytest.mark.parametrize(
    ("prepare", "cause"),
    [
        (Path.unlink, "No such file or directory"),
        (lambda path: path.write_text("\n"), "it is empty"),
        (lambda path: path.write_bytes(b"\xff"), "it is not UTF-8"),
    ],
)
def test_a_file_without_a_password_is_named(
    url: URL, file: Path, prepare: Callable[[Path], object], cause: str
) -> None:
    prepare(file)
    with pytest.raises(PasswordUnreadableError, match=rf"read from .*{file} \({cause}\): write"):
        ask(engine_of(url, lambda _url, shown: in_file(shown, file)))


@pytest.mark.parametrize("where", ["url", "query"])
def test_a_refused_password_of_the_url_is_not_taken_for_an_outage(url: URL, where: str) -> None:
    wrong = url.set(password=WRONG) if where == "url" else url.update_query_dict({"password": WRONG})
    with pytest.raises(PasswordRefusedError) as error:
        ask(engine_of(wrong))
    assert "refused the password from [database] url (password authentication failed" in str(error.value)
    assert WRONG not in str(error.value)


def test_without_a_password_libpqs_places_are_named(url: URL) -> None:
    with pytest.raises(PasswordRefusedError, match=r"PGPASSWORD or the password file of libpq"):
        ask(engine_of(url))


def secret_with(text_of_secret: str) -> str:
    client = boto3.client("secretsmanager")
    arn: str = client.create_secret(Name=f"db-{time.monotonic_ns()}", SecretString=text_of_secret)["ARN"]
    return arn


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize("form", ["plain", "rds"])
def test_a_rotated_secret_is_read_again_when_the_server_refuses_it(
    server: Stoppable, url: URL, form: str
) -> None:
    """And not before: each reading is a call. The connection that was refused is opened all the same."""

    def wrapped(password: str) -> str:
        return password if form == "plain" else json.dumps({"username": "app", "password": password})

    arn = secret_with(wrapped(SECRET))
    passwords = aws_passwords.in_secret("shown", arn)
    engine = engine_of(url, lambda *_: passwords)
    read = counted(passwords)
    for _ in range(3):
        ask(engine)
        engine.dispose()
    assert read() == 1
    boto3.client("secretsmanager").put_secret_value(SecretId=arn, SecretString=wrapped("another"))
    rotate(server, "another")
    ask(engine)
    assert read() == 2
    rotate(server, "a third, which is not in the secret")
    engine.dispose()
    with pytest.raises(
        PasswordRefusedError, match=rf"refused the password from .*{arn} \(.*: check that the"
    ):
        ask(engine)


def counted(passwords: object) -> Callable[[], int]:
    """Count how often the password is read."""
    found = passwords._read  # type: ignore[attr-defined]
    calls: list[None] = []

    def read() -> str:
        calls.append(None)
        answer: str = found()
        return answer

    passwords._read = read  # type: ignore[attr-defined]
    return lambda: len(calls)


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize("text", ["s3cret\n", "s3cret\r\n", '{"password": "s3cret"}\n'])
def test_a_line_feed_at_the_end_of_a_secret_is_not_of_the_password(text: str) -> None:
    read = aws_passwords.in_secret("shown", secret_with(text))._read
    assert read is not None
    assert read() == "s3cret"


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(
    ("text_of_secret", "cause"),
    [
        ('{"username": "app"}', "JSON without a text 'password'"),
        ("\n", "it is empty"),
        (None, "ResourceNotFoundException"),
    ],
)
def test_a_secret_without_a_password_is_named(url: URL, text_of_secret: str | None, cause: str) -> None:
    missing = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:missing-abcdef"
    arn = secret_with(text_of_secret) if text_of_secret else missing
    passwords = aws_passwords.in_secret("shown", arn)
    with pytest.raises(PasswordUnreadableError, match=rf"cannot be read from .*{arn} \(.*{cause}"):
        ask(engine_of(url, lambda *_: passwords))


def test_a_password_of_digits_is_no_json() -> None:
    assert aws_passwords._password_in("12345678") == "12345678"


RDS_HOST = "redistill.abcdefgh.eu-central-1.rds.amazonaws.com"


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(
    ("host", "region"), [(RDS_HOST, "eu-central-1"), ("localhost", "eu-west-1")], ids=["rds", "another name"]
)
def test_each_connection_has_a_token_for_its_host_port_user_and_region(
    server: Stoppable, url: URL, host: str, region: str
) -> None:
    """The server accepts the newest token alone, as the user's password."""
    named = url.set(host=host).update_query_dict({"hostaddr": "127.0.0.1"})
    passwords = aws_passwords.rds_tokens("shown", named)
    tokens = granted(server, passwords)
    engine = engine_of(named, lambda *_: passwords)
    for _ in range(2):
        with reading(engine) as first, reading(engine) as second:
            assert processes(first) != processes(second)
        ask(engine)  # with a connection that exists
        engine.dispose()
        time.sleep(1.1)  # a token's time has a second
    assert len(tokens) == 4
    assert len(set(tokens)) >= 2
    for token in tokens:
        found = urlsplit(f"https://{token}")
        query = {name: values[0] for name, values in parse_qs(found.query).items()}
        assert (found.hostname, found.port) == (host, server.port)
        assert (query["Action"], query["DBUser"], query["X-Amz-Expires"]) == ("connect", "app", "900")
        assert query["X-Amz-Credential"].split("/")[::2] == ["AKIDTEST", region, "aws4_request"]


def processes(connection: object) -> object:
    return connection.scalar(text("SELECT pg_backend_pid()"))  # type: ignore[attr-defined]


def granted(server: Stoppable, passwords: object) -> list[str]:
    """Let the server know each token as the password, as RDS does; returns the tokens."""
    found, tokens, lock = passwords._read, [], threading.Lock()  # type: ignore[attr-defined]

    def read() -> str:
        token: str = found()
        with lock:
            rotate(server, token)
            tokens.append(token)
        return token

    passwords._read = read  # type: ignore[attr-defined]
    return tokens


@pytest.mark.usefixtures("aws")
def test_a_token_that_is_refused_is_told_with_what_it_needs(url: URL) -> None:
    """It is not tried twice: another one would fare no better."""
    passwords = aws_passwords.rds_tokens("shown", url)
    read = counted(passwords)
    with pytest.raises(PasswordRefusedError, match=r"an RDS token for app at 127.0.0.1:\d+ .*grant rds_iam"):
        ask(engine_of(url, lambda *_: passwords))
    assert read() == 1


def test_a_token_without_credentials_is_told(
    url: URL, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    passwords = aws_passwords.rds_tokens("shown", url)
    with pytest.raises(PasswordUnreadableError, match="Unable to locate credentials"):
        ask(engine_of(url, lambda *_: passwords))


@pytest.mark.parametrize("url_text", ["postgresql://host/name", "postgresql://app@/name?host=/tmp"])
def test_a_token_needs_a_host_and_a_user(url_text: str) -> None:
    with pytest.raises(aws_passwords.IamAddressError, match=r"needs a (host|user)"):
        aws_passwords.rds_tokens("shown", make_url(url_text))
