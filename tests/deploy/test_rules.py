"""cfn-lint and the guard rules on the template, and each rule on a template that breaks it."""

import os
import re
from collections.abc import Callable
from typing import Any

import cfnlint.api
import pytest
from cfnlint.config import ManualArgs

from tests.support.deployment.stack import TEMPLATE, template

try:
    from cfn_guard_rs.api import run_checks
except ModuleNotFoundError:
    if os.environ.get("CI") == "true":
        raise
    pytest.skip("cfn-guard-rs has wheels for Python 3.11 and 3.12: use one of them", allow_module_level=True)

RULES = (TEMPLATE.parent / "rules.guard").read_text(encoding="utf-8")
NAMES = re.findall(r"^rule (\w+)", RULES, re.MULTILINE)
#: CloudFormation takes a longer template from a bucket only.
LONGEST = 51_200


def broken_rules(document: dict[str, Any]) -> list[str]:
    report = run_checks(document, RULES)
    assert report.not_applicable == []
    return sorted(each.Rule.name for each in report.not_compliant if each.Rule)


def test_cfn_lint_finds_nothing() -> None:
    found = cfnlint.api.lint(TEMPLATE.read_text(encoding="utf-8"), config=ManualArgs(regions=["eu-west-1"]))
    assert [str(each) for each in found] == []


def test_the_template_can_be_sent_in_one_request() -> None:
    assert TEMPLATE.stat().st_size <= LONGEST


def test_the_template_keeps_all_rules() -> None:
    assert broken_rules(template()) == []


Mutation = tuple[str, Any]
ENCRYPTION = "Properties.BucketEncryption.ServerSideEncryptionConfiguration.0.ServerSideEncryptionByDefault"
CONTAINER = "Properties.ContainerDefinitions.0"
#: For each rule a path in `Resources`, and a value there that breaks the rule. None: the key is removed.
MUTATIONS: dict[str, Mutation] = {
    "tasks_do_not_run_as_root": (f"WorkerTask.{CONTAINER}.User", "0"),
    "root_file_systems_are_read_only": (f"DaemonTask.{CONTAINER}.ReadonlyRootFilesystem", False),
    "tasks_have_no_capabilities": (f"MigrationTask.{CONTAINER}.LinuxParameters.Capabilities", None),
    "signals_reach_the_process": (f"WorkerTask.{CONTAINER}.LinuxParameters.InitProcessEnabled", False),
    "tasks_have_time_to_stop": (f"WorkerTask.{CONTAINER}.StopTimeout", 600),
    "a_full_log_does_not_block_the_task": (
        f"DaemonTask.{CONTAINER}.LogConfiguration.Options.mode",
        "blocking",
    ),
    "the_daemon_has_a_health_check": (f"DaemonTask.{CONTAINER}.HealthCheck.StartPeriod", 10),
    "ephemeral_storage_is_allowed_by_fargate": (
        "WorkerTask.Properties.EphemeralStorage",
        {"Fn::If": ["IsGpu", {"Ref": "AWS::NoValue"}, {"SizeInGiB": 10}]},
    ),
    "services_have_no_public_address": (
        "DaemonService.Properties.NetworkConfiguration.AwsvpcConfiguration.AssignPublicIp",
        "ENABLED",
    ),
    "failed_deployments_are_rolled_back": (
        "DaemonService.Properties.DeploymentConfiguration.DeploymentCircuitBreaker.Rollback",
        False,
    ),
    "the_next_daemon_starts_beside_the_previous_one": (
        "DaemonService.Properties.DeploymentConfiguration.MaximumPercent",
        100,
    ),
    "tasks_accept_no_connection": (
        "TaskSecurityGroup.Properties.SecurityGroupIngress",
        [{"IpProtocol": "tcp", "FromPort": 8080, "ToPort": 8080, "CidrIp": "0.0.0.0/0"}],
    ),
    "only_tasks_reach_the_database": ("Database.Properties.PubliclyAccessible", True),
    "the_database_is_encrypted": ("Database.Properties.StorageEncrypted", False),
    "the_database_outlives_a_mistake": ("Database.DeletionPolicy", "Delete"),
    "no_password_is_in_the_template": ("Database.Properties.MasterUserPassword", "secret"),
    "buckets_are_encrypted": (
        f"Archive.{ENCRYPTION}.SSEAlgorithm",
        "AES256",
    ),
    "buckets_are_private": ("Registry.Properties.PublicAccessBlockConfiguration.BlockPublicPolicy", False),
    "buckets_outlive_the_stack": ("Registry.DeletionPolicy", "Delete"),
    "erased_objects_are_gone_after_a_day": (
        "Archive.Properties.LifecycleConfiguration.Rules.1.NoncurrentVersionExpiration.NoncurrentDays",
        30,
    ),
    "buckets_are_read_over_tls": ("ArchivePolicy.Properties.PolicyDocument.Statement.0.Condition", None),
    "queues_are_encrypted": ("DeadLetters.Properties.SqsManagedSseEnabled", False),
    "the_queue_has_dead_letters": ("Queue.Properties.RedrivePolicy", None),
    "roles_name_their_actions": (
        "DaemonRole.Properties.Policies.0.PolicyDocument.Statement.0.Action",
        ["s3:*"],
    ),
    "roles_name_their_resources": (
        "WorkerRole.Properties.Policies.0.PolicyDocument.Statement.0.Resource",
        "*",
    ),
    "roles_are_for_this_account": (
        "WorkerRole.Properties.AssumeRolePolicyDocument.Statement.0.Condition",
        None,
    ),
    "a_silent_daemon_raises_the_alarm": ("NoCycleEnded.Properties.TreatMissingData", "ignore"),
    "a_dead_letter_raises_the_alarm": ("DeadLetterArrived.Properties.AlarmActions", []),
    "a_failed_deployment_is_reported": (
        "DeploymentFailed.Properties.EventPattern.detail.eventName",
        ["SERVICE_DEPLOYMENT_COMPLETED"],
    ),
    "logs_expire": ("LogGroup.Properties.RetentionInDays", None),
    "keys_are_rotated": ("Key.Properties.EnableKeyRotation", False),
    "gpu_instances_are_hardened": (
        "GpuTemplate.Properties.LaunchTemplateData.MetadataOptions.HttpTokens",
        "optional",
    ),
    "gpu_instances_exist_only_while_they_work": ("GpuGroup.Properties.MinSize", "1"),
}
#: The one rule about parameters.
PARAMETERS: dict[str, Callable[[dict[str, Any]], object]] = {
    "images_are_named_by_digest": lambda found: found["Parameters"]["WorkerImage"].pop("AllowedPattern"),
}


def test_each_rule_has_a_mutation() -> None:
    assert sorted([*MUTATIONS, *PARAMETERS]) == sorted(NAMES)


@pytest.mark.parametrize("rule", NAMES)
def test_a_template_that_breaks_the_rule_is_refused(rule: str) -> None:
    document = template()
    if rule in PARAMETERS:
        PARAMETERS[rule](document)
    else:
        mutate(document["Resources"], *MUTATIONS[rule])
    assert broken_rules(document) == [rule]


def mutate(resources: dict[str, Any], path: str, value: Any) -> None:  # noqa: ANN401 - any value of a property
    found: Any = resources
    *way, last = path.split(".")
    for key in way:
        found = found[int(key)] if isinstance(found, list) else found[key]
    if value is None:
        del found[last]
    else:
        assert found.get(last) != value
        found[last] = value
