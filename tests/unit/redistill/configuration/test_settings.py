"""The configuration: what it says by default, what the environment changes, and how it refuses."""

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from monitor.settings import S3Traffic
from redistill.configuration.settings import Settings, load, load_rules
from redistill.configuration.source import ConfigError, ConfigMissingError
from triggers.rule_sets import SUSTAINED_RULES
from triggers.settings import SERVING_RULE

SMALLEST = """
[traffic]
uri = "logs"
[teacher]
uri = "models/teacher"
[student]
uri = "models/student"
[redistill]
train = "data/train.jsonl"
test = "data/test.jsonl"
"""


TWO_RULES = '[{"name": "a", "metric": "kl", "above": 1}, {"name": "a", "metric": "js", "above": 1}]'


def written(folder: Path, text: str) -> Path:
    path = folder / "redistill.toml"
    path.write_text(text, encoding="utf-8")
    return path


def loaded(folder: Path, text: str = "") -> Settings:
    return load(written(folder, SMALLEST + text))


def test_the_defaults_are_the_rules_of_the_design(tmp_path: Path) -> None:
    settings = loaded(tmp_path)
    agreement, kl = settings.rules
    assert (agreement.metric, agreement.below, agreement.for_cycles) == ("agreement", Decimal("0.95"), 3)
    assert (kl.metric, kl.above, kl.for_cycles) == ("kl", Decimal("0.15"), 1)
    assert {agreement.action, kl.action} == {"redistill"}
    assert (settings.redistill.alpha, settings.redistill.alpha_step) == (Decimal("0.7"), Decimal("0.1"))
    assert (settings.metrics.temperature, settings.monitor.sample_size) == (3.0, 10_000)


def test_models_run_on_a_gpu_if_there_is_one_and_in_float32(tmp_path: Path) -> None:
    settings = loaded(tmp_path)
    assert (settings.scoring.device, settings.scoring.precision) == ("auto", "float32")
    assert (settings.redistill.device, settings.redistill.precision) == ("auto", "float32")


def test_a_cluster_scores_on_its_cpus(tmp_path: Path) -> None:
    assert loaded(tmp_path, '[scoring]\nengine = "ray"\nprecision = "bfloat16"\n').scoring.device == "auto"
    with pytest.raises(ConfigError, match="device = 'cuda' needs engine = 'local'"):
        loaded(tmp_path, '[scoring]\nengine = "ray"\ndevice = "cuda"\n')


def test_paths_are_taken_from_the_folder_of_the_file(tmp_path: Path) -> None:
    settings = loaded(tmp_path)
    assert settings.traffic.uri == tmp_path / "logs"
    assert settings.redistill.train == tmp_path / "data/train.jsonl"
    assert settings.redistill.registry == tmp_path / "registry"
    assert settings.database.url == f"sqlite:///{tmp_path}/redistill.db"


def test_an_absolute_path_and_a_server_stay_as_they_are(tmp_path: Path) -> None:
    settings = load(
        written(
            tmp_path,
            SMALLEST.replace('"logs"', '"/var/log/requests"')
            + '[database]\nurl = "postgresql://user@host/name"\n',
        )
    )
    assert settings.traffic.uri == Path("/var/log/requests")
    assert settings.database.url == "postgresql://user@host/name"


def test_a_decimal_of_the_file_stays_exact(tmp_path: Path) -> None:
    text = '[[rules]]\nname = "r"\nmetric = "kl"\nabove = 0.1500000000000000001\n'
    assert loaded(tmp_path, text).rules[0].threshold == Decimal("0.1500000000000000001")


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDISTILL__MONITOR__EVERY", "15m")
    monkeypatch.setenv("REDISTILL__TEACHER__URI", "other")
    monkeypatch.setenv("REDISTILL__METRICS__SEEDS", "[1, 2]")
    settings = loaded(tmp_path, '[monitor]\nevery = "1h"\nsample_size = 5000\n')
    assert settings.monitor.every == timedelta(minutes=15)
    assert settings.monitor.sample_size == 5_000
    assert settings.teacher.uri == tmp_path / "other"
    assert settings.metrics.seeds == (1, 2)


def test_a_teacher_is_vouched_for_by_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDISTILL__TEACHER__ACCEPT", "0123456789ab")
    assert loaded(tmp_path).teacher.accept == "0123456789ab"
    monkeypatch.setenv("REDISTILL__TEACHER__ACCEPT", "latest")
    with pytest.raises(ConfigError, match=r"accept: expected the first 12 digits, or more, .*, not 'latest'"):
        loaded(tmp_path)


def test_workers_are_started_in_ecs_where_the_file_or_the_environment_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert loaded(tmp_path).ecs is None
    for name, value in (("CLUSTER", "redistill"), ("TASK_DEFINITION", "worker"), ("SUBNETS", '["subnet-1"]')):
        monkeypatch.setenv(f"REDISTILL__ECS__{name}", value)
    found = loaded(tmp_path).ecs
    assert found is not None
    assert (found.cluster, found.task_definition, found.subnets) == ("redistill", "worker", ("subnet-1",))
    assert found.command == ("redistill", "worker", "--once")


def test_a_string_with_a_dollar_is_taken_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAGER_SECRET", "s3cret")
    settings = loaded(
        tmp_path, '[[alerts]]\nkind = "webhook"\nurl = "https://pager"\nsecret = "$PAGER_SECRET"\n'
    )
    assert settings.alerts[0].kind == "webhook"
    assert settings.alerts[0].secret.get_secret_value() == "s3cret"
    assert "s3cret" not in repr(settings)


def rule(**keys: object) -> str:
    lines = [f"{key} = {value!r}" for key, value in {"name": "r", "metric": "kl", **keys}.items()]
    return "\n".join(["[[rules]]", *lines, ""])


REFUSED = {
    "an unknown key close to a known one": (
        "[monitor]\nsample_siz = 500",
        "[monitor]: unknown key 'sample_siz': did you mean 'sample_size'?",
    ),
    "an unknown key like none": (
        "[web]\nlevel = 5",
        "[web]: unknown key 'level': expected one of by_label, emf, host, port, token",
    ),
    "an unknown section": (
        '[monitr]\nname = "a"',
        "unknown section 'monitr': did you mean 'monitor'?",
    ),
    "an unknown key in a list of tables": (
        rule(above=0.1, for_cycle=2),
        "[[rules]] number 1: unknown key 'for_cycle': did you mean 'for_cycles'?",
    ),
    "an unknown key of one kind of alert": (
        '[[alerts]]\nkind = "webhook"\nurl = "https://x"\nsecret = "y"\nurls = "z"',
        "[[alerts]] number 1, webhook: unknown key 'urls': did you mean 'url'?",
    ),
    "a word for a whole number": (
        '[monitor]\nsample_size = "many"',
        "[monitor] sample_size: expected a whole number, not 'many'",
    ),
    "a fraction for a whole number": (
        "[monitor]\nsample_size = 1.5",
        "[monitor] sample_size: expected a whole number, not 1.5",
    ),
    "a share above one": (
        "[monitor]\nmax_reject_share = 1.5",
        "[monitor] max_reject_share: expected a value of at most 1.0, not 1.5",
    ),
    "no duration": (
        '[monitor]\nevery = "soon"',
        "[monitor] every: 'soon' is not a duration: write '10m', '1h30m' or '7d'",
    ),
    "too short a duration": (
        '[monitor]\nevery = "0s"',
        "[monitor] every: expected a value of at least 1s, not '0s'",
    ),
    "both a period and a cron line": (
        '[monitor]\nevery = "1h"\ncron = "0 * * * *"',
        "[monitor]: give 'every' or 'cron', not both",
    ),
    "a name with a space": (
        '[monitor]\nname = "manga assist"',
        "[monitor] name: expected at most 200 letters, digits, '.', '_' and '-', not 'manga assist'",
    ),
    "two rules of one name": (
        rule(above=0.1) + rule(above=0.2),
        "[[rules]]: two have the name 'r': rename one of them",
    ),
    "a rule without a bound": (
        rule(),
        "[[rules]] number 1: rule 'r' needs exactly one of 'below' and 'above'",
    ),
    "a rule with both bounds": (
        rule(above=0.1, below=0.2),
        "[[rules]] number 1: rule 'r' needs exactly one of 'below' and 'above'",
    ),
    "a negative threshold": (
        rule(above=-0.1),
        "[[rules]] number 1, above: expected a value of at least 0, not -0.1",
    ),
    "an agreement above one": (
        rule(metric="agreement", below=95),
        "[[rules]] number 1: rule 'r': 95 is not a share: set it in [0, 1]",
    ),
    "an unknown metric": (
        rule(metric="accuracy", below=0.9),
        "[[rules]] number 1: rule 'r': 'metric' must be one of agreement, kl, kl_t1, js, serving_skew, ",
    ),
    "rules in single brackets": (
        '[rules]\nname = "r"',
        "[rules]: expected a list of tables: write [[rules]], in double brackets",
    ),
    "an unknown kind of alert": (
        '[[alerts]]\nkind = "pager"',
        "[[alerts]] number 1: expected one of 'log', 'webhook', 'pagerduty', 'slack', 'sns', not 'pager'",
    ),
    "a queue without a URL": (
        '[queue]\nkind = "sqs"',
        "[queue]: 'url' belongs to kind = 'sqs': set both or neither",
    ),
    "a URL without a queue": (
        '[queue]\nurl = "https://sqs/1/jobs.fifo"',
        "[queue]: 'url' belongs to kind = 'sqs': set both or neither",
    ),
    "a queue that is not FIFO": (
        '[queue]\nkind = "sqs"\nurl = "https://sqs/1/jobs"',
        "[queue] url: expected the URL of a FIFO queue, 'https://….fifo', not 'https://sqs/1/jobs'",
    ),
    "tasks without a cluster": (
        '[ecs]\ntask_definition = "worker"',
        "[ecs] cluster: missing",
    ),
    "tasks of an unknown launch type": (
        '[ecs]\ncluster = "c"\ntask_definition = "worker"\nlaunch_type = "fargate"',
        "[ecs] launch_type: expected 'FARGATE', 'EC2' or 'EXTERNAL', not 'fargate'",
    ),
    "tasks of two kinds of capacity": (
        '[ecs]\ncluster = "c"\ntask_definition = "w"\nlaunch_type = "EC2"\ncapacity_provider = "SPOT"',
        "[ecs]: 'launch_type' and 'capacity_provider' exclude each other: set one",
    ),
    "security groups of no network": (
        '[ecs]\ncluster = "c"\ntask_definition = "w"\nsecurity_groups = ["sg-1"]',
        "[ecs]: 'security_groups' and 'assign_public_ip' need 'subnets'",
    ),
    "subnets that are no list": (
        '[ecs]\ncluster = "c"\ntask_definition = "w"\nsubnets = "subnet-1"',
        "[ecs] subnets: expected a list, not 'subnet-1'",
    ),
    "a command of no container": (
        '[ecs]\ncluster = "c"\ntask_definition = "w"\ncommand = ["worker", "--once"]',
        "[ecs]: 'command' needs 'container': set the name of the container that runs it",
    ),
    "an empty command": (
        '[ecs]\ncluster = "c"\ntask_definition = "w"\ncontainer = "w"\ncommand = []',
        "[ecs] command: expected a list of at least 1, not []",
    ),
    "a misspelt key of the tasks": (
        '[ecs]\ncluster = "c"\ntask_definition = "w"\nsubnet = ["subnet-1"]',
        "[ecs]: unknown key 'subnet': did you mean 'subnets'?",
    ),
    "an alert without a kind": ('[[alerts]]\nname = "a"', "[[alerts]] number 1: it needs a 'kind'"),
    "an address without a scheme": (
        '[[alerts]]\nkind = "webhook"\nurl = "pager"\nsecret = "x"',
        "[[alerts]] number 1, url: expected 'https://…' or 'http://…'",
    ),
    "a secret of the wrong type is not shown": (
        '[[alerts]]\nkind = "webhook"\nurl = "https://x"\nsecret = 12345',
        "[[alerts]] number 1, secret: expected a string",
    ),
    "a database that is not known is not shown, for its password": (
        '[database]\nurl = "mysql://user:password@host/name"',
        "[database] url: expected 'sqlite:///redistill.db' or 'postgresql://user@host/name'",
    ),
    "a bucket where a folder is wanted": (
        '[monitor]\narchive = "gs://bucket/archive"',
        "[monitor] archive: expected a path or 's3://bucket/key', not a URL (gs://)",
    ),
    "a bucket that nobody can have": (
        '[monitor]\narchive = "s3://Bad_Bucket/x"',
        "[monitor] archive: expected 's3://bucket/key', not 's3://Bad_Bucket/x': the name of a bucket",
    ),
    "no bucket": (
        '[monitor]\narchive = "s3:///x"',
        "[monitor] archive: expected 's3://bucket/key', not 's3:///x': it names no bucket",
    ),
    "a bucket for a file": (
        'validation = "s3://my-bucket"',
        "[redistill] validation: expected 's3://bucket/key', not 's3://my-bucket': it lacks the key",
    ),
    "a number for a path": ("registry = 5", "[redistill] registry: expected a path, not 5"),
    "a variable that is not set": (
        '[[alerts]]\nkind = "webhook"\nurl = "https://x"\nsecret = "$NOT_SET_ANYWHERE"',
        "the environment variable NOT_SET_ANYWHERE is not set",
    ),
    "an alpha that is too fine": (
        "alpha = 0.70001",
        "[redistill] alpha: expected at most 3 decimals, not 0.70001",
    ),
    "an alpha above one": ("alpha = 1.1", "[redistill] alpha: expected a value of at most 1, not 1.1"),
    "no TOML": ("[monitor", "the file is not valid TOML: "),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_a_bad_file_is_refused_with_the_key_and_what_is_expected(
    text: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as refusal:
        loaded(tmp_path, text)
    assert str(refusal.value).startswith(f"{tmp_path / 'redistill.toml'}: {message}")
    assert "\n" not in str(refusal.value)
    assert refusal.value.exit_code == 2


def test_sections_that_are_missing_are_named_with_what_they_need(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[teacher\]: missing: it needs 'uri'"):
        load(written(tmp_path, '[traffic]\nuri = "logs"\n'))


def test_a_key_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[teacher\] uri: missing"):
        load(written(tmp_path, SMALLEST.replace('uri = "models/teacher"', "")))


def test_a_value_that_is_no_section_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[web\]: expected a table, a line \[web\] with keys below it"):
        load(written(tmp_path, f"web = 8080\n{SMALLEST}"))


def test_a_rule_that_orders_needs_something_to_train_and_to_judge_with(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs 'train' and 'test'"):
        load(written(tmp_path, SMALLEST.partition("[redistill]")[0]))


def test_rules_that_only_alert_need_no_training_data(tmp_path: Path) -> None:
    text = SMALLEST.partition("[redistill]")[0] + rule(above=0.15, action="alert")
    assert load(written(tmp_path, text)).redistill.train is None


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[monitor\] sample_size: .*; \[web\] port: "):
        loaded(tmp_path, "[monitor]\nsample_size = 0\n[web]\nport = 70000\n")


def test_a_file_that_is_not_there_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigMissingError, match="run `redistill init` to write it") as refusal:
        load(tmp_path / "redistill.toml")
    assert refusal.value.exit_code == 2


def test_a_folder_in_the_place_of_the_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the file cannot be read: Is a directory"):
        load(tmp_path)


VARIABLES = {
    "an unknown section": (
        "REDISTILL__MONITR__NAME",
        "a",
        "unknown section 'monitr': did you mean 'monitor'?",
    ),
    "an unknown key": (
        "REDISTILL__MONITOR__SAMPLE_SIZ",
        "1",
        "[monitor]: unknown key 'sample_siz': did you mean 'sample_size'?",
    ),
    "a wrong type": (
        "REDISTILL__MONITOR__SAMPLE_SIZE",
        "many",
        "[monitor] sample_size: expected a whole number, not 'many'",
    ),
    "an entry of a list": (
        "REDISTILL__RULES__0__NAME",
        "a",
        "a list is set as a whole: set REDISTILL__RULES to a JSON list",
    ),
    "a channel of a list": (
        "REDISTILL__ALERTS__0__KIND",
        "log",
        'a list is set as a whole: set REDISTILL__ALERTS to a JSON list, [{"kind": "log"}], or edit the file',
    ),
    "an item of a list": (
        "REDISTILL__METRICS__SEEDS__0",
        "1",
        "a list is set as a whole: set REDISTILL__METRICS__SEEDS to a JSON list",
    ),
    "a list without brackets": (
        "REDISTILL__METRICS__RARE_LABELS",
        "a,b",
        'expected a JSON list, such as ["a", "b"]',
    ),
    "patterns without brackets": (
        "REDISTILL__MONITOR__REDACT_PATTERNS",
        "a|b",
        'expected a JSON list, such as ["a", "b"]',
    ),
    "a section that is no table": ("REDISTILL__METRICS", "x", "expected a JSON object"),
    "no value": ("REDISTILL__STUDENT__URI", " ", "it is empty: give it a value, or unset it"),
}


@pytest.mark.parametrize(("name", "value", "message"), VARIABLES.values(), ids=VARIABLES)
def test_a_bad_variable_is_named(
    name: str, value: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as refusal:
        loaded(tmp_path)
    assert str(refusal.value).startswith(f"the environment variable {name}: {message}")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("REDISTILL__RULES", '[{"name": "a", "metric": "kl", "above": "x"}]', "[[rules]] number 1, above: "),
        ("REDISTILL__ALERTS", '[{"kind": "log"}, {"kind": "pager"}]', "[[alerts]] number 2"),
        ("REDISTILL__METRICS__SEEDS", '[1, "x"]', "[metrics] seeds.1: "),
        ("REDISTILL__RULES", '["a"]', "[[rules]] number 1: expected a table, a line [[rules]] with keys"),
        ("REDISTILL__ALERTS", "[1]", "[[alerts]] number 1: expected a table"),
        ("REDISTILL__MONITOR__REDACT", "maybe", "[monitor] redact: expected true or false, not 'maybe'"),
        ("REDISTILL__TRAFFIC__MAX_TEXT_CHARS", "x", "[traffic] max_text_chars: "),
        (
            "REDISTILL__TRAFFIC__URI",
            "https://example.org/log",
            "[traffic] uri: expected a local path, not a URL",
        ),
    ],
)
def test_the_variable_of_a_refused_value_is_named(
    name: str, value: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as refusal:
        loaded(tmp_path)
    assert str(refusal.value).startswith(f"the environment variable {name}: {message}")


@pytest.mark.parametrize(
    ("name", "value", "added", "message"),
    [
        ("REDISTILL__REDISTILL__ALPHA_FLOOR", "0.9", "", "[redistill] alpha = "),
        ("REDISTILL__RULES", TWO_RULES, "", "[[rules]]: two have the name "),
        ("REDISTILL__MONITOR", '{"sample_size": 0}', "", "[monitor] sample_size: "),
        ("REDISTILL__METRICS__SEEDS", '["x"]', "[monitor]\nsample_size = 0\n", "[monitor] sample_size: "),
        ("REDISTILL__TRAFFIC__KIND", "s3", "", "[traffic] uri: expected 's3://bucket/key'"),
        ("REDISTILL__ECS__CLUSTER", "main", "", "[ecs] task_definition: missing"),
    ],
)
def test_the_file_and_the_variable_are_named_where_either_may_be_at_fault(
    name: str, value: str, added: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    monkeypatch.setenv("REDISTILL__WEB__PORT", "8081")  # which is right, and is not named
    with pytest.raises(ConfigError) as refusal:
        load(written(tmp_path, SMALLEST + added))
    assert str(refusal.value).startswith(
        f"{tmp_path / 'redistill.toml'}, with the environment variable {name}: {message}"
    )


def with_traffic(folder: Path, text: str) -> Path:
    return written(folder, SMALLEST.replace('uri = "logs"\n', text))


def test_a_bucket_has_its_hours_below_its_prefix(tmp_path: Path) -> None:
    traffic = load(with_traffic(tmp_path, 'kind = "s3"\nuri = "s3://log-1/app/"\n')).traffic
    assert isinstance(traffic, S3Traffic)
    assert (traffic.bucket, traffic.hour_prefix) == ("log-1", "app/%Y/%m/%d/%H/")
    for uri, prefix in {"s3://log-1": "%Y/%m/%d/%H/", "s3://log-1/d=%Y-%m-%d/": "d=%Y-%m-%d/"}.items():
        traffic = load(with_traffic(tmp_path, f'kind = "s3"\nuri = "{uri}"\n')).traffic
        assert isinstance(traffic, S3Traffic)
        assert traffic.hour_prefix == prefix


def test_captured_requests_have_names_of_their_own_that_can_be_changed(tmp_path: Path) -> None:
    text = 'uri = "logs"\nformat = "sagemaker-capture"\nstudent_label = "output[1]"\n'
    traffic = load(with_traffic(tmp_path, text)).traffic
    assert traffic.text == "not_null(input.inputs, input.text, input[0])"
    assert traffic.student_label == "output[1]"


@pytest.mark.parametrize("pattern", ["(", "(" * 3_000, "a{99999999999999999999}"])
def test_a_pattern_that_is_no_regular_expression_is_refused(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(ConfigError, match=r"redact_patterns.*' is not a regular expression"):
        loaded(tmp_path, f'[monitor]\nredact_patterns = ["{pattern}"]\n')


@pytest.mark.parametrize(
    ("traffic", "says"),
    [
        (
            'uri = "s3://log/app"',
            "[traffic] uri: expected a local path, not a URL (s3://): for a log in S3",
        ),
        ('kind = "s3"\nuri = "log/app"', "[traffic] uri: expected 's3://bucket/key', not 'log/app'"),
        ('kind = "s3"\nuri = "s3://log/a"\nlat = "1h"', "[traffic]: unknown key 'lat': did you mean 'late'?"),
        ('kind = "s4"\nuri = "x"', "[traffic]: expected one of 'files', 's3', 'sql', not 's4'"),
        ('kind = "sql"\nuri = "sqlite:///x"', "[traffic] table: missing"),
        (
            'uri = "logs"\nformat = "csv"',
            "[traffic] format: expected 'jsonl', 'parquet' or 'sagemaker-capture'",
        ),
        ('uri = "logs"\ntext = "a["', "'a[' is neither a field's name nor JMESPath"),
        ("uri = 'logs'\ntext = '\"a\"\"\\ud800b\"'", "is neither a field's name nor JMESPath: "),
        (f'uri = "logs"\ntext = "{"(" * 3_000}"', "((…' is neither a field's name nor JMESPath"),
        ('format = "jsonl"', "[traffic] uri: missing"),
    ],
)
def test_a_log_that_is_not_well_described_is_refused(tmp_path: Path, traffic: str, says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(with_traffic(tmp_path, traffic + "\n"))
    assert says in str(refused.value)


def test_the_url_of_a_logs_database_is_never_shown(tmp_path: Path) -> None:
    settings = load(with_traffic(tmp_path, 'kind = "sql"\nuri = "postgresql://u:s3cret@h/d"\ntable = "t"\n'))
    assert "s3cret" not in repr(settings)
    with pytest.raises(ConfigError) as refused:
        load(with_traffic(tmp_path, 'kind = "sql"\nuri = ["postgresql://u:s3cret@h/d"]\ntable = "t"\n'))
    assert "s3cret" not in str(refused.value)


def test_an_archive_is_a_folder_or_a_bucket(tmp_path: Path) -> None:
    assert loaded(tmp_path).monitor.archive == tmp_path / "archive"
    bucket = loaded(tmp_path, '[monitor]\narchive = "s3://my-bucket/samples"\n')
    assert bucket.monitor.archive == "s3://my-bucket/samples"


def test_recorded_answers_are_watched_unless_the_rules_are_given(tmp_path: Path) -> None:
    recorded = SMALLEST.replace('"models/student"', '"models/student"\nscores = "recorded"')
    assert [rule.name for rule in load(written(tmp_path, recorded)).rules] == [
        "low-agreement",
        "high-kl",
        "serving-skew",
    ]
    own = '[[rules]]\nname = "mine"\nmetric = "agreement"\nbelow = 0.9\n'
    assert [rule.name for rule in load(written(tmp_path, recorded + own)).rules] == ["mine"]


def test_a_rule_set_is_chosen_by_name(tmp_path: Path) -> None:
    named = SMALLEST.replace("[monitor]\n", "") + '[monitor]\nrule_set = "sustained"\n'
    assert load(written(tmp_path, named)).rules == SUSTAINED_RULES
    recorded = named.replace('"models/student"', '"models/student"\nscores = "recorded"')
    assert load(written(tmp_path, recorded)).rules == (*SUSTAINED_RULES, SERVING_RULE)
    own = '[[rules]]\nname = "mine"\nmetric = "agreement"\nbelow = 0.9\n'
    with pytest.raises(ConfigError, match=r"and rule_set in \[monitor\] are both set: remove one"):
        load(written(tmp_path, named + own))
    with pytest.raises(ConfigError, match="expected 'literal' or 'sustained', not 'strict'"):
        load(written(tmp_path, named.replace("sustained", "strict")))


def test_skew_orders_no_student(tmp_path: Path) -> None:
    rule = '[[rules]]\nname = "skewed"\nmetric = "serving_skew"\nabove = 0.01\n'
    with pytest.raises(ConfigError, match=r"set action = 'alert'"):
        loaded(tmp_path, rule)


def test_a_rule_that_is_refused_is_not_missed_as_well(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text("[[rules]]\nname = 'x'\nmetric = 'agreement'\n")
    with pytest.raises(ConfigError, match=r"needs exactly one of 'below' and 'above'$"):
        load_rules(path)
    path.write_text("rules = []\n")
    with pytest.raises(ConfigError, match="it has no rule: add a line"):
        load_rules(path)
    with pytest.raises(ConfigError, match="/dev/null: it has no rule: add a line"):
        load_rules(Path("/dev/null"))
    with pytest.raises(ConfigError, match="there is no such file"):
        load_rules(tmp_path / "nowhere.toml")


@pytest.mark.parametrize(("value", "keep"), [('"all"', None), ("1", 1), ("20", 20)])
def test_versions_are_kept_by_their_number_or_all(tmp_path: Path, value: str, keep: int | None) -> None:
    assert loaded(tmp_path, f"keep_versions = {value}").redistill.keep_versions == keep
    assert loaded(tmp_path).redistill.keep_versions is None
