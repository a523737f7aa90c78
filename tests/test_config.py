"""Settings: precedence, bounds, and messages that name what is wrong."""

from pathlib import Path

import pytest

from waa.config import SETTINGS, Config, ConfigError, Switch, load
from waa.core.price import PriceEntry
from waa.core.spec import LogSide, Origin, Transport, VmOs

FREE = (
    "host",
    "database",
    "live_files",
    "tls_cert",
    "tls_key",
    "proxy_user_header",
    "oidc_client_id",
    "oidc_client_secret",
    "oidc_scopes",
    "azure_watch_tag",
)
"""Settings that take any text."""


def written(folder: Path, text: str) -> dict[str, str]:
    path = folder / "waa.toml"
    path.write_text(text, encoding="utf-8")
    return {"WAA_CONFIG": str(path)}


def test_defaults_are_the_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """B1: port 8765, local."""
    monkeypatch.chdir(tmp_path)
    config = load([], {})
    assert (config.host, config.port, config.demo, config.vms) == ("127.0.0.1", 8765, Switch.AUTO, ())
    assert config.database_url == f"sqlite:///{config.data / 'waa.db'}"


def test_flag_beats_environment_beats_file(tmp_path: Path) -> None:
    environment = written(tmp_path, 'port = 1111\nthreshold = 0.5\nembed_origins = ["https://wiki.example.org"]\n')
    assert load([], environment).port == 1111
    assert load([], {**environment, "WAA_PORT": "2222"}).port == 2222
    config = load(["--port", "3333"], {**environment, "WAA_PORT": "2222"})
    assert (config.port, config.threshold, config.embed_origins) == (3333, 0.5, ("https://wiki.example.org",))


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "url"
    secret.write_text("postgresql://x\n", encoding="utf-8")
    assert load(["--config", str(_empty(tmp_path))], {"WAA_DATABASE_FILE": str(secret)}).database == "postgresql://x"


def _empty(folder: Path) -> Path:
    path = folder / "empty.toml"
    path.write_text("", encoding="utf-8")
    return path


def test_vms_have_the_defaults_of_b1(tmp_path: Path) -> None:
    config = load([], written(tmp_path, '[[vm]]\nname = "gpu-1"\nssh_host = "10.0.0.4"\n'))
    (vm,) = config.vms
    assert (vm.container, vm.waa_port, vm.vnc_port, vm.guest_ip) == ("winarena", 5000, 8006, "20.20.20.21")
    assert (vm.log_path, vm.log_side, vm.transport, vm.origin) == (
        "/tmp/waa_benchmark.log",
        LogSide.AUTO,
        Transport.SSH,
        Origin.CONFIG,
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("prot = 1\n", "unknown key 'prot'"),
        ("port = 'x'\n", "port: 'x' is not a whole number"),
        ("port = 70000\n", "port: 70000 is not between 0 and 65535"),
        ("port = true\n", "port: True is not a whole number"),
        ("demo = 'sometimes'\n", "one of: auto, on, off"),
        ("sse = 'perhaps'\n", "sse: 'perhaps' is not true or false"),
        ("threshold = nan\n", "threshold: nan is not a number"),
        ("embed_origins = ['wiki']\n", "'wiki' is not an origin"),
        ("embed_origins = [1]\n", "is not a list of texts"),
        ("allow_hosts = ['10.0.0.0/99']\n", "allow_hosts: '10.0.0.0/99' is not a name, an address or a network"),
        ("deny_hosts = ['a b']\n", "deny_hosts: 'a b' is not a name"),
        ("mask_patterns = ['(a+)+$']\n", "mask_patterns: '(a+)+$' could take too long"),
        ("mask_patterns = ['[']\n", "mask_patterns: '[' is not a regular expression"),
        ("vm = 3\n", "vm: write each VM as a [[vm]] table"),
        ("port = \n", "is not TOML"),
        ("[[vm]]\nssh_host = 'h'\n", "[[vm]] number 1: name"),
        ("[[vm]]\nname = 'a b'\n", "[[vm]] a b: name: 'a b' is not 1 to 63 letters"),
        ("[[vm]]\nname = 'a'\nssh_port = 0\n", "[[vm]] a: ssh_port: 0 is not a port"),
        ("[[vm]]\nname = 'a'\nssh_port = 'x'\n", "[[vm]] a: ssh_port: Expected `int | null`"),
        ("[[vm]]\nname = 'a'\nhost = 'x'\n", "[[vm]] a: host: is not a field of a VM; allowed: name, ssh_host"),
        ("[[vm]]\nname = 'a'\nssh_host = '-oProxyCommand=x'\n", "[[vm]] a: ssh_host"),
        ("[[vm]]\nname = 'a'\ntransport = 'telnet'\n", "[[vm]] a: transport"),
        ("[[vm]]\nname = 'a'\nlog_path = 'relative'\n", "[[vm]] a: log_path: 'relative' is not an absolute path"),
        ("[[vm]]\nname = 'a'\nprocess = '('\n", "[[vm]] a: process: '(' is not a regular expression"),
        ("[[vm]]\nname = 'a'\n[[vm]]\nname = 'a'\n", "[[vm]] a: name: there are two VMs of this name"),
        ("pipeline = 3\n", "pipeline: write each pipeline as a [[pipeline]] table"),
        ("[[pipeline]]\nid = 'a'\n", "[[pipeline]] a: backend: is required"),
        ("[[pipeline]]\nbackend = 'http://h'\n", "[[pipeline]] number 1: id: is required"),
        ("[[pipeline]]\nid = 'a'\nbackend = 'h'\n", "[[pipeline]] a: backend: is not an http or https address"),
        ("[[pipeline]]\nid = 'a'\nbackend = 'http://h'\nport = 1\n", "[[pipeline]] a: port: is not a field of a pipeline"),
        ("[[pipeline]]\nid = 'a'\nbackend = 'http://h'\ntoken_env = 'NONE'\n", "a: token_env: the environment has no variable NONE"),
        ("[[pipeline]]\nid = 'a'\nbackend = 'http://h'\ntoken_file = '/no/file'\n", "a: token_file: /no/file cannot be read"),
        ("[[pipeline]]\nid = 'a'\nbackend = 'http://h'\ntoken_env = 7\n", "a: token_env: is a text"),
        ("[[pipeline]]\nids = ['a', 'a']\nbackend = 'http://h'\n", "there are two pipelines of the id 'a'"),
    ],
)
def test_a_wrong_file_names_file_key_and_what_is_allowed(tmp_path: Path, text: str, expected: str) -> None:
    environment = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load([], environment)
    assert environment["WAA_CONFIG"] in str(caught.value)
    assert expected in str(caught.value)


@pytest.mark.parametrize("name", [name for name in SETTINGS if not isinstance(getattr(Config(), name), Path | tuple) and name not in FREE])
def test_every_setting_refuses_nonsense_from_the_environment(name: str, tmp_path: Path) -> None:
    variable = f"WAA_{name.upper()}"
    with pytest.raises(ConfigError, match=variable):
        load([], {**written(tmp_path, ""), variable: "nonsense"})


@pytest.mark.parametrize(("mode", "is_fine"), [(0o600, True), (0o400, True), (0o640, False), (0o644, False)])
def test_a_file_that_holds_a_password_is_for_its_owner_only(mode: int, is_fine: bool, tmp_path: Path) -> None:
    environment = written(tmp_path, 'database = "postgresql://waa:hunter2@db/waa"\n')
    path = Path(environment["WAA_CONFIG"])
    path.chmod(mode)
    if is_fine:
        assert load([], environment).database.startswith("postgresql://")
        return
    with pytest.raises(ConfigError, match=rf"chmod 600 {path}, or use WAA_DATABASE_FILE") as caught:
        load([], environment)
    assert "hunter2" not in str(caught.value)
    path.write_text('database = "postgresql://waa@db/waa"\n', encoding="utf-8")
    assert load([], environment).database == "postgresql://waa@db/waa"


OIDC = "oidc_issuer = 'https://login.example.org'\noidc_client_id = 'waa'\noidc_allow = ['@example.org']\n"


def test_an_openid_provider_means_that_one_must_log_in(tmp_path: Path) -> None:
    config = load([], written(tmp_path, OIDC))
    assert (config.is_local, config.needs_login, config.oidc_grants) == (True, True, ("view", "operate"))
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n", encoding="utf-8")
    assert load([], {**written(tmp_path, OIDC), "WAA_OIDC_CLIENT_SECRET_FILE": str(secret)}).oidc_client_secret == "s3cret"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("oidc_client_id = 'waa'\n", "oidc_client_id: is set, but oidc_issuer is not"),
        (OIDC.replace("'waa'", "''"), "oidc_client_id: is needed with oidc_issuer"),
        (OIDC.replace("'@example.org'", ""), "oidc_allow: nobody could sign in"),
        (OIDC.replace("@example.org", "example.org"), "oidc_allow: 'example.org' is not an e-mail address, a domain such as @example.org"),
        (OIDC.replace("https", "http"), "oidc_issuer: 'http://login.example.org' is not an address such as https://"),
        (OIDC.replace("login.", "u@login."), "is not an address such as https://"),
        (OIDC + "oidc_scopes = 'email'\n", "oidc_scopes: 'email' does not hold openid"),
        (OIDC + "oidc_grants = ['all']\n", "oidc_grants: 'all' is not one of: view, operate"),
        (OIDC + "oidc_admins = ['=x']\n", "oidc_admins: '=x' is not an e-mail address"),
        (OIDC + "public_url = 'https://waa.example.org/x'\n", "public_url: 'https://waa.example.org/x' is not a scheme and host"),
    ],
)
def test_an_openid_provider_that_could_let_in_nobody_or_anybody_stops_the_start(text: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load([], written(tmp_path, text))
    assert expected in str(caught.value)


def test_prices_are_tables_of_their_own(tmp_path: Path) -> None:
    text = """currency = "EUR"
run_budget = 25
[[price]]
size = "Standard_D8ds_v5"
per_hour = 0.45
[[price]]
size = "Standard_D8ds_v5"
region = "westeurope"
spot = true
os = "windows"
per_hour = 1
[[vm]]
name = "waa-1"
size = "Standard_D8ds_v5"
region = "westeurope"
spot = true
price_per_hour = 0.5
"""
    config = load([], written(tmp_path, text))
    assert (config.currency, config.run_budget, config.monthly_budget, config.azure_prices) == ("EUR", 25.0, 0.0, False)
    assert config.prices == (
        PriceEntry(size="Standard_D8ds_v5", per_hour=0.45),
        PriceEntry(size="Standard_D8ds_v5", per_hour=1.0, region="westeurope", spot=True, os=VmOs.WINDOWS),
    )
    vm = config.vms[0]
    assert (vm.size, vm.region, vm.spot, vm.os, vm.price_per_hour) == ("Standard_D8ds_v5", "westeurope", True, VmOs.LINUX, 0.5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('currency = "dollars"', "currency: 'dollars' is not a currency of three capital letters such as USD or EUR"),
        ("run_budget = -1", "run_budget: -1 is not between 0 and 1000000000.0"),
        ('azure_prices_url = "ftp://prices"', "azure_prices_url: 'ftp://prices' is not an address"),
        ('[price]\nsize = "A"', "price: write each price as a [[price]] table"),
        ('[[price]]\nsize = "A"\nper_hour = -0.1', "[[price]] A: per_hour: -0.1 is not a price between 0 and 100000"),
        ('[[price]]\nsize = "A"\nper_hour = nan', "[[price]] A: per_hour: nan is not a price"),
        ('[[price]]\nsize = "A"', "[[price]] A: per_hour: Object missing required field `per_hour`"),
        ('[[price]]\nsize = "A"\nper_hour = "1"', "[[price]] A: per_hour: Expected `float`, got `str`"),
        ('[[price]]\nsize = "it\'s"\nper_hour = 1', 'size: "it\'s" is not the name of a size such as Standard_D8ds_v5'),
        ('[[price]]\nsize = "A"\nper_hour = 1\nregion = "west europe"', "region: 'west europe' is not the name of a region"),
        ('[[price]]\nsize = "A"\nper_hour = 1\nos = "dos"', "[[price]] A: os: "),
        ('[[price]]\nsize = "A"\nper_hour = 1\nhourly = 2', "[[price]] A: hourly: is not a field of a price; allowed: size, per_hour"),
        ('[[price]]\nsize = "A"\nper_hour = 1\n[[price]]\nsize = "a"\nper_hour = 2', "[[price]] a: size: there are two prices"),
        ('[[vm]]\nname = "a"\nprice_per_hour = -1', "[[vm]] a: price_per_hour: -1.0 is not a price between 0 and 100000"),
        ('[[vm]]\nname = "a"\nsize = "x y"', "[[vm]] a: size: 'x y' is not the name of a size"),
        ('[[vm]]\nname = "a"\nos = "mac"', "[[vm]] a: os: is not one of: linux, windows"),
    ],
)
def test_a_price_that_makes_no_sense_stops_the_start(text: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load([], written(tmp_path, text))
    assert expected in str(caught.value)


def test_a_missing_file_is_an_error_only_where_it_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    load([], {})
    with pytest.raises(ConfigError, match="there is no such file"):
        load([], {"WAA_CONFIG": "nowhere.toml"})


SUBSCRIPTION = "5a7e1c00-0000-4000-8000-0000000000aa"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("azure_subscriptions = ['mine']\n", "azure_subscriptions: 'mine' is not the id of a subscription"),
        ("azure_workspaces = ['rg/ws']\n", "azure_workspaces: 'rg/ws' is not group/workspace (with one subscription"),
        (
            f"azure_subscriptions = ['{SUBSCRIPTION}']\nazure_workspaces = ['a/b/c/d']\n",
            "azure_workspaces: 'a/b/c/d' is not group/workspace",
        ),
        ("azure_tags = ['=x']\n", "azure_tags: '=x' is not a tag such as purpose=benchmark"),
        ("azure_watch_tag = '='\n", "azure_watch_tag: '=' is not a tag"),
        ("azure_url = 'http://management.example.org'\n", "azure_url: 'http://management.example.org' is not an address such as https"),
        ("azure_authority = 'login.example.org'\n", "azure_authority: 'login.example.org' is not an address"),
        ("azure_auth = 'browser'\n", "azure_auth: 'browser' is not one of: auto, cli, env, managed, none"),
    ],
)
def test_wrong_settings_of_azure_stop_the_start(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load([], written(tmp_path, text))
    assert expected in str(caught.value)


def test_the_subscription_of_azures_own_tools_counts_where_azure_is_chosen_on_purpose(tmp_path: Path) -> None:
    environment = {**written(tmp_path, ""), "AZURE_SUBSCRIPTION_ID": SUBSCRIPTION}
    assert load([], environment).azure_subscriptions == ()
    assert load([], {**environment, "WAA_AZURE_AUTH": "none"}).azure_subscriptions == ()
    config = load([], {**environment, "WAA_AZURE_AUTH": "cli", "WAA_AZURE_WORKSPACES": "rg/ws"})
    assert (config.azure_subscriptions, config.azure_workspaces) == ((SUBSCRIPTION,), ("rg/ws",))
    with pytest.raises(ConfigError, match="AZURE_SUBSCRIPTION_ID: 'x' is not the id"):
        load([], {**environment, "WAA_AZURE_AUTH": "cli", "AZURE_SUBSCRIPTION_ID": "x"})


def test_the_readme_table_is_the_code() -> None:
    """Each setting stands in README with its default and its help line, and no other does."""
    readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    rows = [line for line in readme.splitlines() if line.startswith("| `")]
    cells = {row.split("|")[1].strip().strip("`"): row for row in rows}
    settings = {name: row for name, row in cells.items() if name in SETTINGS}
    assert set(settings) == set(SETTINGS)
    for name, row in settings.items():
        assert SETTINGS[name].metadata["help"] in row, name


def test_pipelines_and_their_credentials_come_from_tables(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-a-file\n")
    text = f"""
[[pipeline]]
ids = ["a", "b"]
backend = "https://pipes.example.org/"
token_env = "PIPES"
[[pipeline]]
id = "c"
title = "The third"
backend = "http://10.0.0.9:8080"
api_key_file = {str(tmp_path / "key")!r}
api_key_header = "X-Key"
"""
    config = load([], {**written(tmp_path, text), "PIPES": "from-the-environment"})
    found = [(spec.pipeline_id, spec.title, spec.auth.value, credential.secret, credential.header) for spec, credential in config.pipelines]
    assert found == [
        ("a", "", "bearer", "from-the-environment", "X-API-Key"),
        ("b", "", "bearer", "from-the-environment", "X-API-Key"),
        ("c", "The third", "api_key", "from-a-file", "X-Key"),
    ]
    assert "from-" not in repr(config)


@pytest.mark.parametrize(("mode", "is_fine"), [(0o600, True), (0o644, False)])
def test_a_file_that_holds_a_token_of_a_pipeline_is_for_its_owner_only(mode: int, is_fine: bool, tmp_path: Path) -> None:
    environment = written(tmp_path, "[[pipeline]]\nid = 'a'\nbackend = 'http://h'\ntoken = 'hunter2'\n")
    path = Path(environment["WAA_CONFIG"])
    path.chmod(mode)
    if is_fine:
        assert load([], environment).pipelines[0][1].secret == "hunter2"
        return
    with pytest.raises(ConfigError, match="token_file") as caught:
        load([], environment)
    assert "hunter2" not in str(caught.value)


def test_a_token_in_the_file_twice_is_refused(tmp_path: Path) -> None:
    environment = written(tmp_path, "[[pipeline]]\nid = 'a'\nbackend = 'http://h'\ntoken = 'x'\ntoken_env = 'HOME'\n")
    Path(environment["WAA_CONFIG"]).chmod(0o600)
    with pytest.raises(ConfigError, match="token_env: gives token once more"):
        load([], {**environment, "HOME": "/"})
