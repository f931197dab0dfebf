"""Settings: what may be set, what is refused in one line, and that README.md tells the truth."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ops.errors import SettingsError
from ops.proof import Prove
from ops.settings import Settings, environment_names, load_settings, secret_names, source_of
from ops.store import open_shared_store
from ops.target import Target, redact

README = Path(__file__).resolve().parent.parent / "README.md"
SQLITE = "sqlite:////srv/shop.db"
POSTGRESQL = "postgresql://me:secret%40word@db.example:5433/shop"


def _refusal(**environ: str) -> str:
    """Why these settings are refused: always in one line."""
    with pytest.raises(SettingsError) as refused:
        load_settings(environ).all_targets()
    assert "\n" not in refused.value.message
    return refused.value.message


def _in_words(default: object) -> str:
    if default in (None, {}):
        return "not set"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def test_readme_has_the_table_of_all_settings() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| (.*?) \| (.*?) \|$", README.read_text("utf-8"), re.M)
    expected = [
        (
            str(field.alias),
            _in_words(field.get_default(call_default_factory=True)),
            str(field.description),
        )
        for field in Settings.model_fields.values()
    ]
    assert rows == expected


def test_an_address_that_cannot_be_understood_is_refused_without_a_part_of_it() -> None:
    told = _refusal(OPS_QUEUE="redis", REDIS_URL="redis://:hid/den@h:6379/0")
    assert "REDIS_URL" in told
    assert "hid" not in told
    with pytest.raises(SettingsError, match="holds an @") as refused:
        open_shared_store("postgresql://me:hid@den@h:5432/memory")
    assert "den" not in f"{refused.value.message} {refused.value.hint} {refused.value.detail}"


def test_with_nothing_set_there_is_a_demo() -> None:
    (target,) = load_settings({}).all_targets()
    assert target.name == "demo"
    assert target.is_demo
    assert str(target.url.database).endswith("/data/demo/demo-shop.db")


def test_every_setting_is_read() -> None:
    given = {
        "DATABASE_URL": SQLITE,
        "OPS_TARGETS__SHOP_2": POSTGRESQL,
        "REDIS_URL": "redis://localhost:6379/0",
        "OPS_DATA_DIR": "/srv/ops",
        "OPS_HOST": "0.0.0.0",
        "OPS_PORT": "0",
        "OPS_ADMIN_PASSWORD": "long enough",
        "OPS_PG_BIN": "/",
        "OPS_MAX_UPLOAD_GB": "1.5",
        "OPS_UNDO_DAYS": "30",
        "OPS_PROVE_BACKUPS": "full",
        "OPS_CHECKSUMS": "true",
        "OPS_STORE_URL": "postgresql://console@host/memory",
        "OPS_QUEUE": "redis",
        "OPS_NOTIFY": "json://localhost mailto://me:secret@mail.example",
        "OPS_HEARTBEAT_URL": "https://watch.example/secret",
        "OPS_ACTIVITY_DAYS": "90",
        "OPS_METRICS_TOKEN": "sixteen or longer",
        "OPS_TRUSTED_PROXIES": "10.0.0.1,10.0.0.2",
    }
    read = load_settings(given)
    assert {name.replace("SHOP_2", "NAME") for name in given} == set(environment_names())
    assert (read.data_dir, read.host, read.port) == (Path("/srv/ops"), "0.0.0.0", 0)
    assert (read.max_upload_gb, read.undo_days, read.activity_days) == (1.5, 30, 90)
    assert (read.prove_backups, read.checksums) == (Prove.FULL, True)
    assert read.trusted_proxies == "10.0.0.1,10.0.0.2"
    assert read.pg_bin == Path("/")
    assert [target.name for target in read.all_targets()] == ["main", "shop_2"]


def test_what_is_empty_is_not_set() -> None:
    assert load_settings(dict.fromkeys(environment_names(), "")) == load_settings({})


def test_every_database_tells_which_setting_it_is_from() -> None:
    read = load_settings({"DATABASE_URL": SQLITE, "OPS_TARGETS__SHOP_2": POSTGRESQL})
    sources = [source_of(read, target.name) for target in read.all_targets()]
    assert sources == ["DATABASE_URL", "OPS_TARGETS__SHOP_2"]
    assert source_of(load_settings({}), "demo") == ""
    assert source_of(load_settings({"OPS_TARGETS__MAIN": SQLITE}), "main") == "OPS_TARGETS__MAIN"


def test_no_secret_shows() -> None:
    read = load_settings(
        {
            "DATABASE_URL": POSTGRESQL,
            "OPS_TARGETS__B": POSTGRESQL,
            "REDIS_URL": "redis://:secretword@h/0",
            "OPS_ADMIN_PASSWORD": "secretword",
            "OPS_NOTIFY": "json://me:secretword@h",
            "OPS_HEARTBEAT_URL": "https://h/secretword",
        }
    )
    shown = f"{read!r} {read} {read.model_dump()} {read.model_dump_json()}"
    shown += "".join(f"{target!r} {target.masked_url}" for target in read.all_targets())
    assert "secret" not in shown


def test_every_secret_may_come_from_a_file(tmp_path: Path) -> None:
    values = {
        "DATABASE_URL": SQLITE,
        "REDIS_URL": "redis://h/0",
        "OPS_ADMIN_PASSWORD": " with spaces ",
        "OPS_METRICS_TOKEN": "0123456789abcdef",
        "OPS_TARGETS__OTHER": POSTGRESQL,
        "OPS_NOTIFY": "json://localhost/hook slack://a/b/c",
        "OPS_HEARTBEAT_URL": "https://watch.example/1",
        "OPS_STORE_URL": "postgresql://console@host/memory",
    }
    assert {name.replace("OTHER", "NAME") for name in values} == set(secret_names())
    files = {}
    for name, value in values.items():
        (tmp_path / name).write_text(value + "\r\n", encoding="utf-8")
        files[f"{name}_FILE"] = str(tmp_path / name)
    assert load_settings(files) == load_settings(values)
    assert load_settings(files).admin_password is not None


def test_addresses_of_messages_are_looked_at_and_not_told() -> None:
    told = _refusal(OPS_NOTIFY="json://localhost secretword")
    assert "address no. 2 does not begin like mailto://" in told
    assert "begin with http" in _refusal(OPS_HEARTBEAT_URL="ftp://h/secretword")
    assert "secretword" not in told + _refusal(OPS_HEARTBEAT_URL="secretword")


def test_files_of_secrets_that_cannot_be_read(tmp_path: Path) -> None:
    assert "No such file" in _refusal(DATABASE_URL_FILE=str(tmp_path / "none"))
    assert "directory" in _refusal(OPS_ADMIN_PASSWORD_FILE=str(tmp_path))
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    assert "not text" in _refusal(REDIS_URL_FILE=str(tmp_path / "binary"))


def test_a_secret_given_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "url").write_text(SQLITE)
    both = _refusal(DATABASE_URL=SQLITE, DATABASE_URL_FILE=str(tmp_path / "url"))
    assert "DATABASE_URL is set twice" in both
    assert "OPS_TARGETS__X is set twice" in _refusal(
        OPS_TARGETS__X=SQLITE, OPS_TARGETS__X_FILE=str(tmp_path / "url")
    )


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("OPS_DATADIR", "OPS_DATA_DIR"),
        ("OPS_UNDO_DAY", "OPS_UNDO_DAYS"),
        ("OPS_PG_BIN_FILE", "OPS_PG_BIN"),
        ("OPS_TARGET__SHOP", "OPS_TARGETS__NAME"),
        ("OPS_TARGETS__", "OPS_TARGETS__NAME"),
    ],
)
def test_a_misspelt_name_is_told(name: str, meant: str) -> None:
    assert _refusal(**{name: "x"}) == (
        f"{name} is not a setting of the console; did you mean {meant}?"
    )


def test_a_name_that_resembles_none_is_told() -> None:
    assert _refusal(OPS_ZZZZZZ="x") == "OPS_ZZZZZZ is not a setting of the console"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OPS_PORT", "65536"),
        ("OPS_PORT", "-1"),
        ("OPS_PORT", "many"),
        ("OPS_UNDO_DAYS", "0"),
        ("OPS_UNDO_DAYS", "366"),
        ("OPS_PROVE_BACKUPS", "sometimes"),
        ("OPS_CHECKSUMS", "perhaps"),
        ("OPS_UNDO_DAYS", "1.5"),
        ("OPS_MAX_UPLOAD_GB", "0"),
        ("OPS_MAX_UPLOAD_GB", "nan"),
        ("OPS_ADMIN_PASSWORD", "short"),
        ("OPS_PG_BIN", "/no/such/folder"),
    ],
)
def test_an_impossible_value_is_refused(name: str, value: str) -> None:
    told = _refusal(**{name: value})
    assert told.startswith(f"{name} cannot be used: ")
    assert name != "OPS_ADMIN_PASSWORD" or value not in told


@pytest.mark.parametrize(
    "url", ["shop.db", "mysql://u:secretword@h/db", "postgresql://u:secretword@h:port/db", "://"]
)
def test_an_address_that_is_none_is_refused_without_its_secret(url: str) -> None:
    told = _refusal(DATABASE_URL=url)
    assert "'main'" in told
    assert "secretword" not in told


@pytest.mark.parametrize("name", ["A B", "É", "../X", "X" * 41, "A.B", "-A", "A-"])
def test_a_target_needs_a_plain_name(name: str) -> None:
    assert "is not a name" in _refusal(**{f"OPS_TARGETS__{name}": SQLITE})


def test_two_targets_of_one_name_are_refused() -> None:
    """They would share their backups, and a restore would meet the wrong one."""
    assert "main" in _refusal(DATABASE_URL=SQLITE, OPS_TARGETS__MAIN=POSTGRESQL)
    assert "set twice" in _refusal(OPS_TARGETS__SHOP=SQLITE, OPS_TARGETS__Shop=POSTGRESQL)


def test_dotenv_fills_what_the_environment_leaves_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("OPS_PORT=1234\nOPS_UNDO_DAYS=3\nOTHER=x\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for name in environment_names():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPS_UNDO_DAYS", "9")
    read = load_settings()
    assert (read.port, read.undo_days) == (1234, 9)
    (tmp_path / ".env").write_text("OPS_PROT=1234\n", encoding="utf-8")
    with pytest.raises(SettingsError, match="did you mean OPS_PORT"):
        load_settings()


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://me:hush@h/db",
        "redis://:hush@h:6379/0",
        "host=h password=hush dbname=x",
        "password='hush hush' user=x",
        "postgresql://h/db?user=u&password=hush&sslmode=require",
        "sslpassword=hush",
        "OPTIONS (user 'u', password 'hush')",
        "ALTER ROLE x PASSWORD 'it''s hush'",
        "password='it''s hush' user=x",
        r"password='it\'s hush' user=x",
        "CREATE ROLE x PASSWORD 'hush, cut of",
        r"OPTIONS (password E'a\\hush')",
    ],
)
def test_redact_leaves_no_password(text: str) -> None:
    assert "hush" not in redact(text)
    assert "***" in redact(text)


def test_addresses_of_postgresql_are_understood_as_people_write_them() -> None:
    for scheme in ("postgres", "postgresql", "postgresql+psycopg2"):
        target = Target.parse("x", f"{scheme}://u:p%40w@h/d")
        assert target.url.drivername == "postgresql+psycopg2"
        assert target.url.password == "p@w"
