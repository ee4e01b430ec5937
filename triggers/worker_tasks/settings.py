"""The configuration of the workers that ECS starts."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from triggers.settings import Section

_Name = Annotated[str, Field(min_length=1)]


class EcsSection(Section):
    """A worker for each job, started as a task in Amazon ECS."""

    cluster: _Name  #: name or ARN
    task_definition: _Name  #: family, family:revision or ARN
    container: _Name | None = None  #: the container of the definition that runs `command`
    command: Annotated[tuple[str, ...], Field(min_length=1)] = ("redistill", "worker", "--once")
    subnets: tuple[_Name, ...] = ()  #: for a definition with the network mode awsvpc
    security_groups: tuple[_Name, ...] = ()
    assign_public_ip: bool = False
    launch_type: Literal["FARGATE", "EC2", "EXTERNAL"] | None = None
    capacity_provider: _Name | None = None  #: such as FARGATE_SPOT; default: the cluster's

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.launch_type and self.capacity_provider:
            raise ValueError("'launch_type' and 'capacity_provider' exclude each other: set one")
        if not self.subnets and (self.security_groups or self.assign_public_ip):
            raise ValueError("'security_groups' and 'assign_public_ip' need 'subnets': set it")
        if "command" in self.model_fields_set and self.container is None:
            raise ValueError("'command' needs 'container': set the name of the container that runs it")
        return self
