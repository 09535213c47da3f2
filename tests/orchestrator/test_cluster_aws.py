"""cluster/gpu.yaml and cluster/aws/account.yaml: Ray's own AWS provider starts every kind of node on a simulated AWS.

Moto simulates EC2 and CloudFormation, but lets everybody do everything there. Before each call the head's policies are
asked, as AWS would ask them, with Moto's matching of actions, resources and conditions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from cfnlint.api import lint_file
from moto import mock_aws
from moto.iam.access_control import IAMPolicyStatement, PermissionResult

from tests.helpers.experiments import ROOT

GPU = ROOT / "cluster" / "gpu.yaml"
ACCOUNT = ROOT / "cluster" / "aws" / "account.yaml"
REGION, NUMBER = "us-west-2", "123456789012"
HERE = "203.0.113.7/32"
NAME_TAG = "ray-cluster-name"
Question = tuple[str, str, dict[str, str]]
"""An action, the ARN that it is for, and what its conditions may look at."""


class Refused(Exception):
    """What AWS calls UnauthorizedOperation."""


@dataclass
class Role:
    """A role, as the policies that it has."""

    statements: list[dict[str, Any]]

    @classmethod
    def named(cls, name: str) -> Role:
        iam = boto3.client("iam")
        policies = iam.list_role_policies(RoleName=name)["PolicyNames"]
        documents = [iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"] for policy in policies]
        documents = [yaml.safe_load(found) if isinstance(found, str) else found for found in documents]  # Moto's repr()
        return cls([statement for document in documents for statement in document["Statement"]])

    def may(self, action: str, resource: str, context: dict[str, str]) -> bool:
        """Whether a statement allows it. A key that a condition names and the call lacks is no match."""
        assert all(statement["Effect"] == "Allow" for statement in self.statements)
        return any(
            IAMPolicyStatement(statement).is_action_permitted(
                action, resource, incoming_condition_values={**dict.fromkeys(_keys(statement), ""), **context}
            )
            is PermissionResult.PERMITTED
            for statement in self.statements
        )

    def check(self, params: dict[str, Any], model: Any, **_: object) -> None:
        """Before a call of EC2's client. Refused names what is missing."""
        for action, resource, context in _asked(model.name, params):
            if not self.may(action, resource, context):
                raise Refused(f"{action} on {resource}")


def _keys(statement: dict[str, Any]) -> list[str]:
    assert set(statement.get("Condition", {})) <= {"StringEquals"}, "Moto takes any other condition for met"
    return list(statement.get("Condition", {}).get("StringEquals", {}))


def _asked(operation: str, params: dict[str, Any]) -> list[Question]:
    """All that AWS asks the policies for one call."""

    def arn(part: str) -> str:
        return f"arn:aws:ec2:{REGION}:{'' if part.startswith('image/') else NUMBER}:{part}"

    def tagged(action: str, instance: str) -> Question:
        tags = boto3.resource("ec2").Instance(instance).tags
        name = next(tag["Value"] for tag in tags if tag["Key"] == NAME_TAG)
        return action, arn(f"instance/{instance}"), {f"aws:ResourceTag/{NAME_TAG}": name}

    if operation == "RunInstances":
        tags = {tag["Key"]: tag["Value"] for tag in params["TagSpecifications"][0]["Tags"]}
        parameter = params["ImageId"].removeprefix("resolve:ssm:")
        parts = ["image/ami-1", "network-interface/*", "volume/*", f"key-pair/{params['KeyName']}"]
        parts += [f"subnet/{params['SubnetId']}", *(f"security-group/{name}" for name in params["SecurityGroupIds"])]
        if params.get("InstanceMarketOptions", {}).get("MarketType") == "spot":
            parts.append("spot-instances-request/*")
        profile = boto3.client("iam").get_instance_profile(InstanceProfileName=params["IamInstanceProfile"]["Name"])
        role = profile["InstanceProfile"]["Roles"][0]["Arn"]
        return [
            ("iam:PassRole", role, {"iam:PassedToService": "ec2.amazonaws.com"}),
            ("ssm:GetParameters", f"arn:aws:ssm:{REGION}::parameter{parameter}", {}),
            ("ec2:RunInstances", arn("instance/*"), {f"aws:RequestTag/{NAME_TAG}": tags[NAME_TAG]}),
            ("ec2:CreateTags", arn("instance/*"), {"ec2:CreateAction": "RunInstances"}),
            *(("ec2:RunInstances", arn(part), {}) for part in parts),
        ]
    if operation == "CreateTags":
        return [tagged("ec2:CreateTags", instance) for instance in params["Resources"]]
    if operation == "TerminateInstances":
        return [tagged("ec2:TerminateInstances", instance) for instance in params["InstanceIds"]]
    return [(f"ec2:{operation}", "*", {})]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The account after the stack has been made: what the stack says of itself."""
    home: Path = tmp_path_factory.mktemp("home")
    (home / ".ssh").mkdir()
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_EC2_METADATA_DISABLED": "true"}
        for name, value in {**keys, "AWS_DEFAULT_REGION": REGION, "HOME": str(home)}.items():
            patch.setenv(name, value)
        client = boto3.client("cloudformation")
        client.create_stack(
            StackName="hypogen",
            TemplateBody=ACCOUNT.read_text(),
            Parameters=[{"ParameterKey": "SshFrom", "ParameterValue": HERE}],
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )
        stack = client.describe_stacks(StackName="hypogen")["Stacks"][0]
        yield {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


@pytest.fixture(scope="module")
def config(outputs: dict[str, str]) -> dict[str, Any]:
    """The cluster's file with the stack's outputs filled in, as Ray prepares it for the head."""
    from ray.autoscaler._private.commands import _bootstrap_config

    text = GPU.read_text()
    assert text.count("[sg-EDIT]") == 1 and f"region: {REGION}" in text
    made: dict[str, Any] = _bootstrap_config(
        yaml.safe_load(text.replace("sg-EDIT", outputs["SecurityGroup"])), no_config_cache=True
    )
    return made


def provider(config: dict[str, Any], role: Role) -> Any:
    """Ray's provider as it runs on the head, with the head's rights."""
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    made = AWSNodeProvider(config["provider"], config["cluster_name"])
    for resource in (made.ec2, made.ec2_fail_fast):
        events = resource.meta.client.meta.events  # of a client that Ray keeps
        events.unregister("before-parameter-build.ec2", unique_id="role")
        events.register("before-parameter-build.ec2", role.check, unique_id="role")
    return made


def start(provider: Any, config: dict[str, Any], kind: str) -> str:
    """Start one worker as the autoscaler does; its id."""
    node = config["available_node_types"][kind]["node_config"]
    made = provider.create_node(node, {"ray-node-kind": "worker", "ray-user-node-type": kind}, 1)
    return next(iter(made))


def test_what_the_account_needs_is_well_written() -> None:
    assert [str(found) for found in lint_file(ACCOUNT)] == []


@pytest.mark.parametrize("kind", ["cpu", "gpu", "gpu_spot"])
def test_the_head_starts_names_and_ends_workers(kind: str, config: dict[str, Any]) -> None:
    asked = provider(config, Role.named("hypogen-head"))
    instance = start(asked, config, kind)
    seen = boto3.resource("ec2").Instance(instance)
    assert seen.iam_instance_profile["Arn"].endswith("/hypogen-worker")
    assert (seen.instance_lifecycle == "spot") == (kind != "gpu")
    assert instance in asked.non_terminated_nodes({})
    asked.set_node_tags(instance, {"ray-node-status": "up-to-date"})
    asked.terminate_node(instance)
    assert instance not in asked.non_terminated_nodes({})


@pytest.mark.parametrize(
    "action", ["iam:PassRole", "ssm:GetParameters", "ec2:RunInstances", "ec2:CreateTags", "ec2:TerminateInstances"]
)
def test_every_right_of_the_head_is_needed(action: str, config: dict[str, Any]) -> None:
    role = Role.named("hypogen-head")
    kept = [statement for statement in role.statements if action not in str(statement["Action"])]
    assert len(kept) < len(role.statements)
    asked = provider(config, Role(kept))
    with pytest.raises(Refused, match=action):
        asked.terminate_node(start(asked, config, "gpu"))


def test_the_head_may_nothing_else(config: dict[str, Any]) -> None:
    head = Role.named("hypogen-head")
    instances, service = f"arn:aws:ec2:{REGION}:{NUMBER}:instance/*", {"iam:PassedToService": "ec2.amazonaws.com"}
    assert not head.may("iam:PassRole", f"arn:aws:iam::{NUMBER}:role/admin", service)
    assert not head.may("iam:PassRole", f"arn:aws:iam::{NUMBER}:role/hypogen-worker", {})
    assert not head.may("ec2:TerminateInstances", instances, {f"aws:ResourceTag/{NAME_TAG}": "another"})
    assert not head.may("ec2:RunInstances", instances, {})
    assert not head.may("s3:GetObject", "arn:aws:s3:::another/key", {})


def test_a_worker_may_use_the_bucket_alone(outputs: dict[str, str]) -> None:
    worker, bucket = Role.named("hypogen-worker"), f"arn:aws:s3:::{outputs['Bucket']}"
    assert worker.may("s3:PutObject", f"{bucket}/runs/a", {}) and worker.may("s3:ListBucket", bucket, {})
    assert not worker.may("s3:PutObject", "arn:aws:s3:::another/a", {}) and not worker.may(
        "s3:DeleteBucket", bucket, {}
    )
    assert {action.partition(":")[0] for found in worker.statements for action in found["Action"]} == {"s3"}


def test_ssh_comes_from_one_place_and_nothing_else_comes_in(outputs: dict[str, str], config: dict[str, Any]) -> None:
    group = boto3.resource("ec2").SecurityGroup(outputs["SecurityGroup"])
    outside = [rule for rule in group.ip_permissions if rule["IpRanges"]]
    assert [(rule["FromPort"], rule["ToPort"], rule["IpRanges"]) for rule in outside] == [(22, 22, [{"CidrIp": HERE}])]
    inside = [pair["GroupId"] for rule in group.ip_permissions for pair in rule["UserIdGroupPairs"]]
    assert inside == [group.id]
    nodes = [entry["node_config"] for entry in config["available_node_types"].values()]
    assert all(node["SecurityGroupIds"] == [group.id] for node in nodes)
    assert all(node["ImageId"].startswith("resolve:ssm:/aws/service/deeplearning/ami/") for node in nodes)
    asked = {node["InstanceType"] for node in nodes}
    known = boto3.client("ec2").describe_instance_types(InstanceTypes=sorted(asked))["InstanceTypes"]
    assert asked == {kind["InstanceType"] for kind in known}


def test_all_of_the_world_cannot_be_let_in() -> None:
    pattern = yaml.load(ACCOUNT.read_text(), Loader=yaml.BaseLoader)["Parameters"]["SshFrom"]["AllowedPattern"]
    assert re.fullmatch(pattern, HERE) and not re.fullmatch(pattern, "0.0.0.0/0")
